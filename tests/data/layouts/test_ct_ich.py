# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_cuas.cli import main
from monai_cuas.data.layouts import read_layout
from monai_cuas.utils import CUASError

from ..folders import real, reasons, scan

RELEASED = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,"
    "Fracture_Yes_No"
)
REBUILT = "patient,slice,intraventricular,intraparenchymal,subarachnoid,epidural,subdural,no_hemorrhage,fracture"


def row(patient: int, number: int, epidural: bool = False, fracture: bool = False) -> str:
    return f"{patient},{number},0,0,0,{int(epidural)},0,{int(not epidural)},{int(fracture)}"


def released(folder: Path) -> Path:
    """Patient 49 bleeds in the third of six slices, 50 is healthy, 51 has a row too few, 59 has no scan."""
    for name in ("049", "050", "051"):
        scan(folder / "ct_scans" / f"{name}.nii")
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[1, 1, 2] = 255 if name == "049" else 0
        scan(folder / "masks" / f"{name}.nii", values=mask)
    rows = [row(49, k, epidural=k == 3) for k in (6, 2, 3, 1, 4, 5)]  # not in order
    rows += [row(50, k, fracture=k == 2) for k in range(1, 7)]
    rows += [row(51, k) for k in range(1, 6)] + [row(59, 1)]
    (folder / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join([RELEASED, *rows]) + "\n")
    return folder


def test_released(tmp_path):
    report = read_layout(released(tmp_path))
    assert report.layout == "ct_ich"
    assert [(e.subject, e.role) for e in report] == [("049", "lesion"), ("050", "normal")]
    first, second = report.entries
    assert (first.label, first.extra["kind"]) == (tmp_path / "masks" / "049.nii", "epidural")
    assert first.extra["slice_labels"] == [0, 0, 1, 0, 0, 0]
    assert (second.label, second.extra["slice_labels"]) == (None, [0] * 6)
    assert reasons(report) == {"051.nii": "5 rows in the table for 6 slices"}
    assert report.warnings == [
        "050 has a fracture but no haemorrhage, and counts as normal.",
        "hemorrhage_diagnosis_raw_ct.csv has rows of patients without a scan: 059.",
    ]


def test_mask_and_table_that_disagree_are_told(tmp_path):
    released(tmp_path)
    scan(tmp_path / "masks" / "049.nii", values=np.zeros((4, 5, 6), np.uint8))
    assert "049: mask and table disagree on 1 of 6 slices." in read_layout(tmp_path).warnings


def test_rebuilt_counts_from_zero(tmp_path):
    scan(tmp_path / "051.nii.gz")
    scan(tmp_path / "052.nii.gz")
    rows = [row(51, k, epidural=k == 3) for k in range(6)] + [row(52, k) for k in (0, 1, 2, 3, 4, 9)]
    (tmp_path / "slices.csv").write_text("\n".join([REBUILT, *rows]) + "\n")
    report = read_layout(tmp_path)
    assert [(e.subject, e.label, e.extra["slice_labels"]) for e in report] == [("051", None, [0, 0, 0, 1, 0, 0])]
    assert "do not number the slices" in reasons(report)["052.nii.gz"]


def test_slices_are_counted_along_the_axial_axis(tmp_path):
    coronal = nib.Nifti1Image(
        np.ones((4, 6, 5), np.uint8), np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    )
    nib.save(coronal, tmp_path / "051.nii.gz")
    rows = [row(51, k) for k in range(6)]
    (tmp_path / "slices.csv").write_text("\n".join([REBUILT, *rows]) + "\n")
    assert len(read_layout(tmp_path).entries[0].extra["slice_labels"]) == 6


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "name the folder that holds the table"),
        ("a,b\n1,2", "line 2 is not as expected"),
        (f"{REBUILT}\nx,0,0,0,0,0,0,1,0", "line 2"),
    ],
)
def test_a_table_that_does_not_fit(tmp_path, table, words):
    scan(tmp_path / "051.nii.gz")
    if table:
        (tmp_path / "slices.csv").write_text(table)
    with pytest.raises(CUASError, match=words):
        read_layout(tmp_path, "ct_ich")


def test_the_papers_rule(tmp_path):
    """Patients without haemorrhage train and calibrate, those with it test."""
    for k in range(51, 63):
        scan(tmp_path / f"{k:03d}.nii.gz")
    rows = [row(p, k, epidural=p < 53 and k == 0) for p in range(51, 63) for k in range(6)]
    (tmp_path / "slices.csv").write_text("\n".join([REBUILT, *rows]) + "\n")
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "d.json"), "--recipe", "ct_ich_paper"]
    assert main(words) == 0
    content = json.loads((tmp_path / "d.json").read_text())
    assert [e["subject"] for e in content["test_lesion"]] == ["051", "052"]
    assert [len(content[k]) for k in ("training", "calibration", "validation", "test_normal")] == [7, 2, 1, 0]
    assert "scan_label" not in content["test_lesion"][0]


def test_real_ct_ich():
    report = read_layout(real("ct_ich"))
    assert report.layout == "ct_ich"
    assert report.left_out == []
    assert [sum(e.role == role for e in report) for role in ("normal", "lesion")] == [20, 12]
    # the large bleeding of patient 094 lies where the table says, and not where a reversed table would put it
    (entry,) = [e for e in report if e.subject == "094"]
    scan_ = np.asarray(nib.load(entry.images[0]).dataobj)[60:196, 60:196]
    blood = ndimage.binary_opening((scan_ > 45) & (scan_ < 80), np.ones((5, 5, 1)))
    labels = entry.extra["slice_labels"]
    area = blood.sum(axis=(0, 1))[12:28]  # above the skull base and below the vertex, where bone looks like blood
    peak = 12 + int(area.argmax())
    assert area.max() > 500
    assert labels[peak] == 1
    assert labels[::-1][peak] == 0
    assert not any(labels[15:18]) and blood[..., 15:18].sum() == 0  # noqa: PT018
