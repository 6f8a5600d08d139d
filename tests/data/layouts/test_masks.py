# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Masks of any name, place and number are given to their scans; no normal scan has one."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_cuas.cli import main
from monai_cuas.data.datalist import settle_roles
from monai_cuas.data.layouts import read_layout
from monai_cuas.utils import CUASError

from ..folders import reasons

SHAPE = (30, 32, 24)
PLACE = np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) / 2
BRAIN = (PLACE**2).sum(0) < 10**2
LESION = (PLACE[0] - 3) ** 2 + PLACE[1] ** 2 + PLACE[2] ** 2 < 3**2
KINDS = {
    "uint8": LESION.astype(np.uint8),
    "float": LESION.astype(np.float32),
    "255": LESION.astype(np.uint8) * 255,
    "parts": LESION * (1 + np.indices(SHAPE)[0] % 3).astype(np.int16),
    "soft": ndimage.gaussian_filter(LESION.astype(np.float32), 0.6),
}


def save(path, values, image=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image(values, np.diag([6.0, 6.0, 6.0, 1.0]).astype(np.float32)), path)
    return path


def scan(path, seed=0, image=nib.Nifti1Image):
    values = (BRAIN * np.random.default_rng(seed).uniform(50, 200, SHAPE)).astype(np.float32)
    return save(path, values, image)


PLACES = {
    "another folder": ("scans/{}.nii.gz", "drawings/{}.nii.gz"),
    "rater": ("p{}.nii.gz", "p{}_wmh_rater2.nii.gz"),
    "before": ("p{}.nii.gz", "mask_p{}.nii.gz"),
    "one folder each": ("pat{}/t2_flair.nii.gz", "pat{}/anything.nii.gz"),
    "number alone": ("img_{}.nii.gz", "les_{}.nii"),
    "capitals": ("Sub{}-T1.nii", "SUB{}-LESION.nii"),
    "experts": ("data/{}/scan.nii.gz", "expert/{}/x.nii.gz"),
    "IXI": ("IXI00{0}-HH-100{0}-T1.nii.gz", "IXI00{0}-HH-100{0}-T1_lesionmask.nii.gz"),
    "BIDS": ("sub-0{0}/anat/sub-0{0}_T1w.nii.gz", "derivatives/x/sub-0{0}/whatever.nii.gz"),
    "dots": ("s.{}.v1.nii.gz", "s.{}.v1.lab.nii.gz"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_masks_find_their_scans(tmp_path, place, kind):
    image, mask = PLACES[place]
    for k in (1, 2, 3):
        scan(tmp_path / image.format(k), k)
        save(tmp_path / mask.format(k), KINDS[kind])
    report = read_layout(tmp_path)
    pairs = [(entry.role, entry.images[0], entry.label) for entry in report]
    assert pairs == [("lesion", tmp_path / image.format(k), tmp_path / mask.format(k)) for k in (1, 2, 3)]
    assert sum("masks by" in warning for warning in report.warnings) == 1
    with pytest.raises(CUASError, match="cannot be a normal scan"):
        settle_roles(report, "normal")


def test_an_empty_mask_makes_no_lesion(tmp_path):
    for k in (1, 2, 3):
        scan(tmp_path / f"m{k}.nii.gz", k)
        save(tmp_path / f"m{k}_seg.nii.gz", KINDS["uint8"] * (k == 1))
    assert [(e.role, e.empty_label) for e in read_layout(tmp_path)] == [("lesion", False), (None, True), (None, True)]
    (tmp_path / "m1_seg.nii.gz").unlink()
    assert len(settle_roles(read_layout(tmp_path), "normal")) == 3


def test_a_mask_of_nobody_is_no_reason_to_call_all_normal(tmp_path):
    for k in (1, 2):
        scan(tmp_path / f"m{k}.nii.gz", k)
    save(tmp_path / "x.nii.gz", KINDS["soft"])
    report = read_layout(tmp_path)
    assert report.unpaired == [tmp_path / "x.nii.gz"]
    with pytest.raises(CUASError, match=r"x\.nii\.gz: a mask with lesion voxels, and nothing tells of which scan"):
        settle_roles(report, "normal")


def test_the_other_sequence_of_a_lesion_is_not_normal(tmp_path):
    for k in (1, 2):
        scan(tmp_path / f"q{k}_T1.nii.gz", k)
        scan(tmp_path / f"q{k}_FLAIR.nii.gz", k + 5)
    save(tmp_path / "q1_FLAIR_mask.nii.gz", KINDS["255"])
    roles = {entry.images[0].name: entry.role for entry in read_layout(tmp_path)}
    assert [name for name, role in roles.items() if role] == ["q1_FLAIR.nii.gz", "q1_T1.nii.gz"]


def test_what_is_no_scan_is_left_out_of_the_normals(tmp_path):
    scan(tmp_path / "a.nii.gz")
    scan(tmp_path / "a.nii")
    scan(tmp_path / "b.mgz", 1, nib.MGHImage)
    scan(tmp_path / "c.img", 2, nib.Nifti1Pair)
    save(tmp_path / "brain.nii.gz", BRAIN.astype(np.uint8))
    save(tmp_path / "parcels.nii.gz", (BRAIN * (1 + np.indices(SHAPE).sum(0) // 4)).astype(np.int16))
    save(tmp_path / "distance.nii.gz", ndimage.distance_transform_edt(BRAIN, sampling=6.0))
    save(tmp_path / "series.nii.gz", np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32))
    (tmp_path / "damaged.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:-9])
    output = tmp_path / "out" / "dataset.json"
    assert main(["datalist", "--input", str(tmp_path), "--role", "normal", "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    taken = [entry["image"].rpartition("/")[2] for part in ("training", "calibration") for entry in content[part]]
    taken += [entry["image"].rpartition("/")[2] for part in ("validation", "test_normal") for entry in content[part]]
    assert sorted(taken) in (["a.nii", "b.mgz", "c.hdr"], ["a.nii.gz", "b.mgz", "c.hdr"])
    told = reasons(read_layout(tmp_path))
    for name, words in (("brain", "mask"), ("parcels", "label map"), ("distance", "distances"), ("series", "several")):
        assert words in told[f"{name}.nii.gz"]
    assert "truncated" in told["damaged.nii.gz"]
