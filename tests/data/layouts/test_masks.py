# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Masks of any name, place and number are given to their scans; no normal scan has one."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_cuas.calibration.normals import calibration_scans
from monai_cuas.calibration.truth import read_truth
from monai_cuas.cli import main
from monai_cuas.data.datalist import settle_roles
from monai_cuas.data.layouts import read_layout
from monai_cuas.data.scans import scan_datalist
from monai_cuas.transforms import LoadScand
from monai_cuas.utils import CUASError, ScanError

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


def test_a_scan_that_is_named_as_a_mask_is_no_mask(tmp_path):
    scan(tmp_path / "a.nii.gz")
    scan(tmp_path / "a_mask.nii.gz", 1)
    report = read_layout(tmp_path)
    assert [(entry.role, entry.label) for entry in report] == [(None, None)]
    assert "are those of a scan" in reasons(report)["a_mask.nii.gz"]


@pytest.mark.parametrize(
    "name", ["zstat1", "spmT_0001", "sub-1_tstat", "thresh_zstat2", "varcope3", "lh.aparc.a2009s+aseg"]
)
def test_maps_by_their_names(tmp_path, name):
    scan(tmp_path / "con_0001.nii.gz")
    scan(tmp_path / f"{name}.nii.gz", 1)
    report = read_layout(tmp_path)
    assert [entry.images[0].name for entry in report] == ["con_0001.nii.gz"]
    assert "by its name" in reasons(report)[f"{name}.nii.gz"]
    assert [entry["name"] for entry in scan_datalist(tmp_path)] == ["con_0001"]


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_any_name_are_passed_over_in_a_folder_of_scans(tmp_path, kind, caplog):
    for k in (1, 2):
        scan(tmp_path / "images" / f"{k}.nii.gz", k)
        save(tmp_path / "drawn" / f"{k}.nii.gz", KINDS[kind])
    assert [entry["name"] for entry in scan_datalist(tmp_path)] == ["1", "2"]
    assert caplog.text.count("masks by their voxels") == 1
    # of masks alone each is refused with the reason when it is read
    assert len(scan_datalist(tmp_path / "drawn")) == 2


def test_thresholds_are_not_set_on_scans_with_a_mask(tmp_path):
    for k in (1, 2):
        scan(tmp_path / f"{k}.nii.gz", k)
    assert len(calibration_scans(normals=tmp_path)) == 2
    save(tmp_path / "1_drawn.nii.gz", KINDS["float"])
    with pytest.raises(CUASError, match=r"1_drawn\.nii\.gz: a mask with lesion voxels"):
        calibration_scans(normals=tmp_path)


def test_a_scan_in_place_of_a_label_is_refused(tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    grid = LoadScand("image")({"image": str(image)})["image"]
    entry = {"image": str(image), "label": str(scan(tmp_path / "b.nii.gz", 1))}
    with pytest.raises(ScanError, match="those of a scan and no mask"):
        read_truth(entry, grid, 2)
    assert read_truth({**entry, "label": str(save(tmp_path / "c.nii.gz", KINDS["soft"]))}, grid, 2).diseased


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


@pytest.mark.parametrize("name", ["label-ventricles_mask", "hippocampus_mask", "desc-brain_mask", "vessels_seg"])
def test_masks_of_anatomy_are_no_lesions(tmp_path, name):
    scan(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    save(tmp_path / "sub-01" / "anat" / f"sub-01_{name}.nii.gz", KINDS["uint8"])
    assert [entry.role for entry in read_layout(tmp_path, "bids")] == [None]


def test_words_of_the_scan_s_own_name_are_no_anatomy(tmp_path):
    for k in (1, 2):
        scan(tmp_path / f"brain{k}.nii.gz", k)
        save(tmp_path / f"brain{k}_drawn.nii.gz", KINDS["uint8"])
    assert [entry.role for entry in read_layout(tmp_path)] == ["lesion", "lesion"]


def test_bids_takes_the_plainest_scan_and_no_phase(tmp_path):
    anat = tmp_path / "sub-01" / "anat"
    for k, name in enumerate(("acq-gad", "ce-gad", "part-phase", "rec-norm_run-1", "run-1", "run-2")):
        scan(anat / f"sub-01_{name}_T1w.nii.gz", k)
    (entry,) = read_layout(tmp_path, "bids")
    assert entry.images[0].name == "sub-01_run-1_T1w.nii.gz"
    assert "no magnitude" in reasons(read_layout(tmp_path, "bids"))["sub-01_part-phase_T1w.nii.gz"]
    (entry,) = read_layout(tmp_path, "bids", sequences=["t1ce"])
    assert entry.images[0].name == "sub-01_acq-gad_T1w.nii.gz"


def test_bids_empty_mask_and_unknown_groups(tmp_path):
    for k in (1, 2, 3):
        scan(tmp_path / f"sub-{k}" / "anat" / f"sub-{k}_T1w.nii.gz", k)
        save(tmp_path / "derivatives" / f"sub-{k}" / f"sub-{k}_mask.nii.gz", KINDS["uint8"] * 0)
    table = "participant_id\tgroup\tname\nsub-1\tControl\tM\xfcller\nsub-2\tMS\tx\nsub-3\tn/a\ty\n"
    (tmp_path / "participants.tsv").write_bytes(table.encode("latin-1"))
    report = read_layout(tmp_path, "bids")
    assert [entry.role for entry in report] == ["normal", None, None]
    assert [warning for warning in report.warnings if "'ms'" in warning]


def test_values_beyond_single_precision_are_no_empty_mask(tmp_path):
    scan(tmp_path / "a.nii.gz")
    save(tmp_path / "b.nii.gz", BRAIN * np.random.default_rng(0).uniform(1, 2, SHAPE) * 1e300)
    assert [entry["name"] for entry in scan_datalist(tmp_path)] == ["a", "b"]
    assert "single precision" in reasons(read_layout(tmp_path))["b.nii.gz"]
