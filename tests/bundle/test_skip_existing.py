# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""`--skip_existing`: a batch that was stopped goes on where it stopped, for the same weights, settings and voxels."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.cli import main

from .conftest import write_bright


@pytest.fixture
def batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    x = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij")) - 11.5
    brain = (x**2).sum(axis=0) < 10**2
    for k in range(3):
        image = np.where(brain, np.random.default_rng(k).normal(5, 1, brain.shape).clip(0.5), 0)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([6.0, 6.0, 6.0, 1])), f"scans/s{k}.nii")
    return write_bright(tmp_path / "model.pt")


def _run(weights, *more) -> int:
    asked = ["infer", "scans", "--output_dir", "out", "--model", str(weights), "--device", "cpu"]
    return main([*asked, "--skip_existing", *more])


def _times() -> dict[str, int]:
    return {name: os.stat(f"out/{name}_mask.nii.gz").st_mtime_ns for name in ("s0", "s1", "s2")}


def _redone(weights, *more) -> set[str]:
    before = _times()
    assert _run(weights, *more) == 0
    return {name for name, time in _times().items() if time != before[name]}


def test_only_what_is_missing_is_done(batch):
    assert _run(batch) == 0
    with open("out/results.csv", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len({row["made_with"] for row in rows.values()}) == 3
    assert _redone(batch) == set()
    os.remove("out/s1_anomaly.nii.gz")
    assert _redone(batch) == {"s1"}
    with open("out/results.csv", encoding="utf-8") as file:
        again = {row["name"]: row for row in csv.DictReader(file)}
    assert {n: r["made_with"] for n, r in again.items()} == {n: r["made_with"] for n, r in rows.items()}


def test_other_settings_or_weights_are_other_results(batch, tmp_path):
    assert _run(batch) == 0
    everything = {"s0", "s1", "s2"}
    assert _redone(batch, "--rate", "0.02") == everything
    assert _redone(batch, "--rate", "0.02", "--median_radius", "1") == everything
    other = write_bright(tmp_path / "other.pt", lowest=0.5)
    assert _redone(other, "--rate", "0.02", "--median_radius", "1") == everything
    shutil.copy(other, tmp_path / "copy.pt")
    assert _redone(tmp_path / "copy.pt", "--rate", "0.02", "--median_radius", "1") == set()


def test_a_scan_with_other_voxels_is_another_one(batch):
    assert _run(batch) == 0
    status = os.stat("scans/s2.nii")
    content = bytearray(Path("scans/s2.nii").read_bytes())
    content[352 + 4 * (12 + 24 * (12 + 24 * 12)) + 2] ^= 8
    Path("scans/s2.nii").write_bytes(content)
    os.utime("scans/s2.nii", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _redone(batch) == {"s2"}
    shutil.copy("scans/s0.nii", "scans/s0_brain_mask.nii")
    assert _redone(batch) == {"s0"}


def test_a_segmentation_that_is_asked_for_is_made(batch):
    """What has no DICOM segmentation is not done, if one is asked for; with one that is there, it is."""
    assert _run(batch) == 0
    everything = {"s0", "s1", "s2"}
    assert _redone(batch, "--dicom_seg") == everything
    assert _redone(batch, "--dicom_seg") == set()
    assert _redone(batch, "--dicom_seg", "--dicom_seg_label", "Lesion") == everything
    assert _redone(batch) == everything
