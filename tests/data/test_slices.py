# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pickle

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader

from monai_cuas.data.slices import SliceDataset, image_middle
from monai_cuas.transforms import AnomalyPreprocessing
from monai_cuas.utils import CUASError
from monai_cuas.utils.disk_cache import cached_files

PRE = AnomalyPreprocessing(image_size=16, margin_mm=0)


def make(data, tmp_path, **kwargs):
    return SliceDataset(data, PRE.for_slices(), tmp_path / "cache", **{"progress": False, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "per_scan"),
    [
        ({"min_brain_fraction": 0.0}, 12),
        ({"min_brain_fraction": 0.5}, 6),
        ({"min_brain_fraction": 0.0, "middle_slices": 4}, 4),
        ({"min_brain_fraction": 0.5, "middle_slices": 4}, 2),
        ({"min_brain_fraction": 0.0, "middle_slices": 100}, 12),
    ],
)
def test_which_slices(data, tmp_path, kwargs, per_scan):
    dataset = make(data, tmp_path, **kwargs)
    assert len(dataset) == 3 * per_scan
    item = dataset[0]
    assert item["image"].shape == item["brain_mask"].shape == (1, 16, 16)
    assert item["image"].dtype == torch.float32
    assert item["subject"] == "s0"
    assert dataset[len(dataset) - 1]["subject"] == "s2"
    assert torch.equal(item["image"] > 0, item["brain_mask"] > 0)


@pytest.mark.parametrize("flip", [False, True])
def test_slices_around_the_images_middle(tmp_path, flip):
    """The brain fills slices 2 to 13 of 30; ten around the image's middle, 10 to 19, have four of them."""
    image = np.zeros((24, 24, 30), dtype=np.float32)
    image[6:18, 6:18, 2:14] = np.random.RandomState(0).uniform(1, 2, (12, 12, 12))
    affine = np.diag([4.0, 4.0, -4.0 if flip else 4.0, 1.0])
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    data, kwargs = [{"image": str(tmp_path / "scan.nii.gz")}], {"min_brain_fraction": 0.0, "middle_slices": 10}
    found = [z for _, z in make(data, tmp_path, middle_of="image", **kwargs).index]
    assert found == ([0, 1, 2, 3] if flip else [8, 9, 10, 11])
    assert [z for _, z in make(data, tmp_path, **kwargs).index] == list(range(1, 11))
    with pytest.raises(ValueError, match="middle_of"):
        make(data, tmp_path, middle_of="head")


def test_the_middle_of_an_image_without_an_affine():
    assert image_middle(torch.zeros(1, 4, 4, 9), torch.zeros(1, 8, 8, 8)) == 4


def test_content_is_that_of_the_volume(data, tmp_path):
    dataset = make(data, tmp_path, min_brain_fraction=0.0)
    volume = PRE({"image": data[1]["image"]})["image"]
    for z in range(12):
        np.testing.assert_allclose(dataset[12 + z]["image"], volume[..., z], atol=1e-3)


def test_label_leaves_slices_out(data, tmp_path):
    label = np.zeros((24, 24, 16), dtype=np.uint8)
    label[10:14, 10:14, 5:8] = 1
    nib.save(nib.Nifti1Image(label, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "label.nii.gz")
    data[0]["label"] = str(tmp_path / "label.nii.gz")
    dataset = make(data, tmp_path, min_brain_fraction=0.0)
    assert len(dataset) == 36 - 3
    # The brain starts at slice 2 of the scan.
    assert [z for scan, z in dataset.index if scan == 0] == [0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_cache_is_used_and_never_stale(data, cylinder, tmp_path, monkeypatch):
    first = make(data, tmp_path)[0]["image"]
    calls = []
    monkeypatch.setattr(AnomalyPreprocessing, "__call__", lambda *a, **k: calls.append(1))
    assert torch.equal(make(data, tmp_path)[0]["image"], first)
    assert not calls
    monkeypatch.undo()
    cylinder(data[0]["image"], seed=77)
    assert not torch.equal(make(data, tmp_path)[0]["image"], first)
    other = SliceDataset(data, AnomalyPreprocessing(image_size=20).for_slices(), tmp_path / "cache", progress=False)
    assert other[0]["image"].shape == (1, 20, 20)


def test_a_file_replaced_by_one_of_its_size_and_time_is_another(tmp_path):
    scans = [tmp_path / f"{n}.nii" for n in range(2)]
    for n, scan in enumerate(scans):
        image = np.zeros((24, 24, 16), dtype=np.float32)
        image[6:18, 6:18, 2:14] = np.random.RandomState(n).uniform(1, 2, (12, 12, 12))
        nib.save(nib.Nifti1Image(image, np.diag([4.0, 4.0, 4.0, 1.0])), scan)
    data = [{"image": str(scans[0])}]
    first, other = make(data, tmp_path)[0]["image"], make([{"image": str(scans[1])}], tmp_path)[0]["image"]
    status = os.stat(scans[0])
    scans[0].write_bytes(scans[1].read_bytes())
    os.utime(scans[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(scans[0]).st_size == status.st_size
    replaced = make(data, tmp_path)[0]["image"]
    assert torch.equal(replaced, other)
    assert not torch.equal(replaced, first)


def test_a_file_that_was_touched_is_still_the_same(data, tmp_path, monkeypatch):
    first = make(data, tmp_path)[0]["image"]
    for entry in data:
        os.utime(entry["image"], (1, 1))
    calls = []
    monkeypatch.setattr(AnomalyPreprocessing, "__call__", lambda *a, **k: calls.append(1))
    assert torch.equal(make(data, tmp_path)[0]["image"], first)
    assert not calls


def test_another_reference_in_the_same_file_gives_other_slices(data, tmp_path):
    reference = tmp_path / "reference.nii"
    pre = AnomalyPreprocessing(image_size=16, margin_mm=0, registration=str(reference))
    hashes = []
    for extent in (6, 9):
        mask = np.zeros((24, 24, 16), dtype=np.uint8)
        mask[6:18, 12 - extent : 12 + extent, 2:14] = 1
        nib.save(nib.Nifti1Image(mask, np.diag([4.0, 4.0, 4.0, 1.0])), reference)
        dataset = SliceDataset(data, pre.for_slices(), tmp_path / "cache", progress=False)
        hashes.append(dataset._volumes.transform_hash)
    assert hashes[0] != hashes[1]


def test_the_cache_is_bounded_and_keeps_what_is_in_use(data, tmp_path, caplog):
    old = make(data[:1], tmp_path, cache_limit_gb=1.0)
    files = cached_files(tmp_path / "cache")
    for file in files:
        os.utime(file.path, (1, 1))
    new = make(data[1:], tmp_path, cache_limit_gb=0.0)
    assert not any(os.path.exists(file.path) for file in files)
    assert "more than the limit" in caplog.text
    assert cached_files(tmp_path / "cache")
    # a training whose slices another one removed makes them again
    assert torch.equal(old[0]["image"], make(data[:1], tmp_path)[0]["image"])
    assert len(new) == 12
    with pytest.raises(ValueError, match="cache_limit_gb"):
        make(data, tmp_path, cache_limit_gb=-1.0)


@pytest.mark.parametrize("folder", ["volumes", "slices", "profiles"])
def test_half_written_cache_is_made_again(data, tmp_path, folder):
    first = make(data, tmp_path)[0]["image"]
    for file in (tmp_path / "cache" / folder).iterdir():
        os.truncate(file, 100)
    assert torch.equal(make(data, tmp_path)[0]["image"], first)


def test_bad_scans_are_left_out(data, tmp_path):
    (tmp_path / "1.nii.gz").write_text("no scan")
    dataset = make(data, tmp_path)
    assert len(dataset) == 12
    assert [file for file, _ in dataset.failed] == [data[1]["image"]]
    with pytest.raises(CUASError, match="no training slice is left of 1 scans"):
        make(data[1:2], tmp_path)
    with pytest.raises(CUASError, match="empty"):
        make([], tmp_path)


def test_workers_and_pickle(data, tmp_path):
    dataset = pickle.loads(pickle.dumps(make(data, tmp_path)))
    batches = list(DataLoader(dataset, batch_size=6, num_workers=2))
    assert [b["image"].shape for b in batches] == [(6, 1, 16, 16)] * 3
    assert torch.equal(batches[0]["image"][2], dataset[2]["image"])


def test_slices_need_the_mask(data, tmp_path):
    with pytest.raises(ValueError, match="for_slices"):
        SliceDataset(data, PRE, tmp_path / "cache", progress=False)
