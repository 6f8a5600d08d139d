# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.cli import main
from monai_cuas.data.datalist import load_datalist
from monai_cuas.phantom.simulation import simulate_lesion_dataset
from monai_cuas.utils import CUASError

AFFINE = np.array([[-4.0, 0, 0.5, 60], [0, 4, 0, -70], [0.5, 0, 4, -50], [0, 0, 0, 1]])  # flipped and a little oblique


def _dataset(folder, n=3):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, s) for s in (34, 40, 32)), indexing="ij"))
    brain = (grid**2).sum(axis=0) < 0.9
    folder.mkdir()
    for name in ("t0", *(f"n{k}" for k in range(n))):
        scan = np.where(brain, 100 + 40 * (grid[0] > 0.2) + rng.normal(0, 4, brain.shape), 0).clip(0).astype(np.uint8)
        nib.save(nib.Nifti1Image(scan, AFFINE), folder / f"{name}.nii.gz")
    entries = [{"image": f"n{k}.nii.gz", "subject": f"n{k}"} for k in range(n)]
    training = [{"image": "t0.nii.gz", "subject": "t0"}]
    (folder / "dataset.json").write_text(json.dumps({"training": training, "test_normal": entries}))
    return folder


def test_lesions_are_where_the_mask_says_and_nowhere_else(tmp_path):
    data = _dataset(tmp_path / "data")
    index = simulate_lesion_dataset(data, tmp_path / "out", "t1", copies=2, kinds=["stroke", "cavity"], progress=False)
    again = simulate_lesion_dataset(data, tmp_path / "two", "t1", copies=2, kinds=["stroke", "cavity"], progress=False)
    normals, lesions = (load_datalist(index, name) for name in ("test_normal", "test_lesion"))
    assert [e["subject"] for e in normals] == ["n0"]
    assert [e["subject"] for e in lesions] == ["n1_lesion1", "n1_lesion2", "n2_lesion1", "n2_lesion2"]
    assert [e["kind"] for e in lesions] == ["stroke", "cavity"] * 2
    assert load_datalist(index, "training")[0]["image"] == str(data / "t0.nii.gz")
    for entry, twin in zip(lesions, load_datalist(again, "test_lesion")):
        image, mask = nib.load(entry["image"]), nib.load(entry["label"])
        original = nib.load(data / f"{entry['subject'][:2]}.nii.gz")
        np.testing.assert_allclose(image.affine, AFFINE)
        np.testing.assert_allclose(mask.affine, AFFINE)
        before, after = np.asarray(original.dataobj).astype(float), np.asarray(image.dataobj).astype(float)
        inside = np.asarray(mask.dataobj) > 0
        assert inside.any()
        assert ((after != 0) == (before != 0)).all()
        changed = np.abs(after - before)
        assert changed[inside].mean() > 5 * changed[(before > 0) & ~inside].mean()
        assert np.array_equal(after, np.asarray(nib.load(twin["image"]).dataobj))


def test_bad_requests_are_one_sentence(tmp_path, capsys):
    data = _dataset(tmp_path / "data", n=1)
    with pytest.raises(CUASError, match="at least two subjects"):
        simulate_lesion_dataset(data, tmp_path / "out", "t1")
    more = _dataset(tmp_path / "more", n=2)
    with pytest.raises(CUASError, match="Unknown lesion kinds"):
        simulate_lesion_dataset(more, tmp_path / "out", "t1", kinds=["wart"], progress=False)
    with pytest.raises(CUASError, match="data set's own folder"):
        simulate_lesion_dataset(more, more, "t1")
    arguments = ["simulate", "--dataset_dir", str(more), "--output_dir", str(tmp_path / "out"), "--modality", "pet"]
    assert main(arguments) == 1
    assert "pet" in capsys.readouterr().err.strip().splitlines()[-1]
