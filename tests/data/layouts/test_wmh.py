# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_cuas.data.datalist import datalist_entry
from monai_cuas.data.layouts import read_layout
from monai_cuas.utils import CUASError

from ..folders import reasons, scan


def test_wmh(tmp_path):
    for place in ("training/Utrecht/0", "training/Amsterdam/GE3T/100", "test/Singapore/50"):
        scan(tmp_path / place / "pre" / "FLAIR.nii.gz")
        scan(tmp_path / place / "pre" / "T1.nii.gz")
        scan(tmp_path / place / "wmh.nii.gz")
    scan(tmp_path / "training" / "Utrecht" / "0" / "orig" / "FLAIR.nii.gz")
    (tmp_path / "test" / "Singapore" / "50" / "pre" / "T1.nii.gz").unlink()
    report = read_layout(tmp_path)
    assert report.layout == "wmh2017"
    assert [(e.subject, e.site, e.role) for e in report] == [
        ("Singapore_50", "Singapore", "lesion"),
        ("Amsterdam_GE3T_100", "Amsterdam/GE3T", "lesion"),
        ("Utrecht_0", "Utrecht", "lesion"),
    ]
    entry = datalist_entry(report.entries[2], tmp_path)
    assert entry["image"] == "training/Utrecht/0/pre/FLAIR.nii.gz"
    assert entry["label"] == "training/Utrecht/0/wmh.nii.gz"
    assert (entry["ignore_label"], entry["kind"]) == (2, "wmh")
    both = read_layout(tmp_path, sequences=["flair", "t1"])
    assert [p.name for p in both.entries[0].images] == ["FLAIR.nii.gz", "T1.nii.gz"]
    assert reasons(both) == {"50": "no t1 (has flair)"}


def test_one_site_alone_and_a_subject_without_mask(tmp_path):
    scan(tmp_path / "Utrecht" / "0" / "pre" / "FLAIR.nii.gz")
    report = read_layout(tmp_path / "Utrecht", "wmh2017")
    assert [(e.subject, e.site, e.label) for e in report] == [("Utrecht_0", "Utrecht", None)]
    assert len(report.warnings) == 1
    assert datalist_entry(report.entries[0], tmp_path)["scan_label"] == 1


def test_another_layout(tmp_path):
    scan(tmp_path / "a.nii.gz")
    with pytest.raises(CUASError, match="expected Utrecht/0/pre/FLAIR.nii.gz"):
        read_layout(tmp_path, "wmh2017")
