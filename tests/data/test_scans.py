# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_cuas.data.scans import scan_datalist
from monai_cuas.utils import CUASError


@pytest.fixture
def folder(tmp_path):
    for name in ("a/FLAIR.nii.gz", "b/FLAIR.nii.gz", "b/T1.nii", "c.nrrd", "notes.txt", ".hidden.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_folder(folder):
    found = scan_datalist(folder)
    assert [e["name"] for e in found] == ["a_FLAIR", "b_FLAIR", "T1", "c"]
    assert found[3]["image"] == str(folder / "c.nrrd")


def test_pattern_file_list(folder):
    assert [e["name"] for e in scan_datalist(folder, "*FLAIR*")] == ["a_FLAIR", "b_FLAIR"]
    assert [e["name"] for e in scan_datalist(folder / "b" / "T1.nii")] == ["T1"]
    assert [e["name"] for e in scan_datalist([folder / "a", folder / "b"], "FLAIR*")] == ["FLAIR", "FLAIR_2"]


def test_errors(folder, tmp_path):
    with pytest.raises(CUASError, match="no such file"):
        scan_datalist(folder / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CUASError, match="there is no scan"):
        scan_datalist(tmp_path / "empty")
    with pytest.raises(CUASError, match="matches"):
        scan_datalist(folder, "*DWI*")
