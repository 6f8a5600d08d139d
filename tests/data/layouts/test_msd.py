# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.bundle.workflow import scan_inputs
from monai_cuas.cli import main
from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.data.layouts import read_layout
from monai_cuas.data.scans import scan_datalist
from monai_cuas.data.slices import SliceDataset
from monai_cuas.transforms import AnomalyPreprocessing
from monai_cuas.utils import CUASError, ScanError

from ..folders import reasons, scan

MODALITY = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}


def task(folder: Path, cases=("BRATS_001", "BRATS_002"), modality=MODALITY, size=16) -> Path:
    """Each channel is a ball of a brightness of its own; the lesion lies in the slice behind the middle."""
    rng = np.random.default_rng(0)
    middle = size // 2
    grid = np.stack(np.meshgrid(*[np.arange(size) - middle + 0.5] * 3, indexing="ij"))
    ball = (grid**2).sum(axis=0) < (middle - 2) ** 2
    root = folder / "Task01_BrainTumour"
    for case in cases:
        image = np.stack([ball * (100 * (k + 1) + rng.integers(0, 50, ball.shape)) for k in range(4)], axis=-1)
        label = np.zeros(ball.shape, np.uint8)
        label[middle - 1 : middle + 1, middle - 1 : middle + 1, middle] = 3
        scan(root / "imagesTr" / f"{case}.nii.gz", values=image.astype(np.int16))
        scan(root / "labelsTr" / f"{case}.nii.gz", values=label)
    training = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases]
    content = {"name": "BRATS", "modality": modality, "training": training, "test": ["./imagesTs/BRATS_485.nii.gz"]}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_channels_are_chosen_by_name(tmp_path):
    root = task(tmp_path)
    (root / "labelsTr" / "BRATS_002.nii.gz").unlink()
    for folder in (tmp_path, root):
        report = read_layout(folder, sequences=["T1gd", "flair"])
        assert report.layout == "msd_task01"
        assert [(e.subject, e.role, e.extra["image_channels"]) for e in report] == [("BRATS_001", "lesion", [2, 0])]
    assert reasons(report) == {"BRATS_002.nii.gz": "named in dataset.json, but there is no such file"}
    assert "BraTS 2016 and 2017" in report.warnings[0]
    assert report.warnings[1].startswith("1 test cases")


def test_the_one_preprocessing_takes_them(tmp_path):
    """Datalist, preprocessing, landmarks, training slices and inference see the same channel of the four."""
    task(tmp_path)
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "out" / "d.json"), "--sequences", "t2"]
    assert main(words) == 0
    entries = load_datalist(tmp_path / "out" / "d.json", "test_lesion")
    assert entries[0]["image_channels"] == [3]
    preprocessing = AnomalyPreprocessing(image_size=16, in_channels=1)
    assert preprocessing(entries[0])["image"].shape == (1, 16, 16, preprocessing(entries[0])["image"].shape[-1])
    landmarks = collect_landmarks(entries, preprocessing, progress=False)
    assert landmarks.shape[:2] == (2, 1)
    assert (landmarks >= 400).all()
    assert (landmarks <= 450).all()
    slices = SliceDataset(entries, preprocessing.for_slices(), tmp_path / "cache", 0.0, progress=False)
    n = preprocessing(entries[0])["image"].shape[-1]
    assert len(slices) == 2 * (n - 1)  # the lesion's slice is left out
    assert slices[0]["image"].shape == (1, 16, 16)
    (found, _) = scan_datalist(scan_inputs(entries))
    assert found == {"image": entries[0]["image"], "name": "BRATS_001", "image_channels": [3]}
    with pytest.raises(ScanError, match="not one 3D volume but several"):
        preprocessing({"image": entries[0]["image"]})
    with pytest.raises(ScanError, match="there is no channel 4 among its 4"):
        preprocessing({"image": entries[0]["image"], "image_channels": [4]})


def test_two_channels_on_the_scans_grid(tmp_path):
    root = task(tmp_path)
    file = root / "imagesTr" / "BRATS_001.nii.gz"
    item = AnomalyPreprocessing(image_size=16)({"image": str(file), "image_channels": [1, 0]})
    assert item["image"].shape[0] == 2
    assert item["brain_mask"].shape == (1, 16, 16, 16)
    assert np.allclose(item["brain_mask"].affine, nib.load(file).affine)


def test_another_task_and_a_broken_file(tmp_path):
    task(tmp_path, modality={"0": "CT"})
    with pytest.raises(CUASError, match="has the modalities ct; only Task01"):
        read_layout(tmp_path)
    (tmp_path / "Task01_BrainTumour" / "dataset.json").write_text("{")
    with pytest.raises(CUASError, match="add --download"):
        read_layout(tmp_path, "msd_task01")


def test_download_only_when_asked(tmp_path, monkeypatch):
    calls = []

    def fetch(root, name, section, download, cache_rate):
        calls.append((root, name, download, cache_rate))
        task(Path(root))

    monkeypatch.setattr("monai.apps.DecathlonDataset", fetch)
    words = [
        "datalist",
        "--layout",
        "msd_task01",
        "--input",
        str(tmp_path / "msd"),
        "--output",
        str(tmp_path / "d.json"),
    ]
    assert main(words) == 1
    assert calls == []
    assert main([*words, "--download"]) == 0
    assert calls == [(tmp_path / "msd", "Task01_BrainTumour", True, 0.0)]
    with pytest.raises(CUASError, match="no option 'download'"):
        read_layout(tmp_path, "ixi", download=True)


def test_a_download_that_fails(tmp_path, monkeypatch):
    def fetch(*args, **kwargs):
        raise RuntimeError("md5 check of downloaded file failed")

    monkeypatch.setattr("monai.apps.DecathlonDataset", fetch)
    with pytest.raises(CUASError, match="md5 check of downloaded file failed"):
        read_layout(tmp_path / "msd", "msd_task01", download=True)
