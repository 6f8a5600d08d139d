# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.data.scans import scan_datalist
from monai_cuas.transforms import LoadScand
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


def _names(found):
    return [entry["name"] for entry in found]


def _write(path, seed=0, image=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).random((5, 4, 3)).astype(np.float32)
    nib.save(image(values, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def test_the_same_scan_compressed_and_not_counts_once(tmp_path, caplog):
    for name in ("x.nii", "x.nii.gz", "x_2.nii.gz"):
        _write(tmp_path / name)
    assert _names(scan_datalist(tmp_path)) == ["x", "x_2"]
    assert "1 file(s) that are copies of another" in caplog.text
    _write(tmp_path / "x.nii.gz", seed=1)
    found = scan_datalist(tmp_path)
    assert sorted(_names(found)) == ["x", "x_2", "x_3"]
    assert next(e["image"] for e in found if e["name"] == "x_2").endswith("x_2.nii.gz")


def test_pairs_count_once_and_halves_are_said(tmp_path, caplog):
    _write(tmp_path / "pair.img", image=nib.Nifti1Pair)
    _write(tmp_path / "half.img", image=nib.Nifti1Pair)
    (tmp_path / "half.hdr").unlink()
    _write(tmp_path / "fs.mgz", image=nib.MGHImage)
    assert _names(scan_datalist(tmp_path)) == ["fs", "pair"]
    assert "half.img: passed over, as it is one half of a pair" in caplog.text


def test_links_pipes_and_loops(tmp_path, caplog):
    root = tmp_path / "root"
    _write(root / "sub" / "a.nii.gz")
    _write(tmp_path / "elsewhere" / "linked.nii.gz")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "loop").symlink_to(root)
    (root / "again.nii.gz").symlink_to(root / "sub" / "a.nii.gz")
    (root / "broken.nii.gz").symlink_to("/nowhere")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "pipe.nii.gz")
    assert sorted(_names(scan_datalist(root))) == ["a", "linked"]
    assert "broken link" in caplog.text
    assert "pipe: passed over" in caplog.text
    assert "pipe.nii.gz: passed over" in caplog.text
    with pytest.raises(CUASError, match="neither a file nor a folder"):
        scan_datalist(root / "pipe.nii.gz")
    with pytest.raises(CUASError, match="neither a file nor a folder"):
        LoadScand("image")({"image": str(root / "pipe.nii.gz")})


def test_what_lies_beside_its_scan_is_no_scan(tmp_path, caplog):
    for name in ("x", "x_seg", "x_mask", "x_label", "x_anomaly", "y_seg", "z_0000", "z_lesion", "n.seg"):
        _write(tmp_path / (name + (".nii.gz")), seed=len(name))
    assert _names(scan_datalist(tmp_path)) == ["x", "y_seg", "z_0000"]
    assert "6 file(s) that are masks or maps" in caplog.text
    (tmp_path / "results.csv").write_text("name\n")
    _write(tmp_path / "w_anomaly.nii.gz")
    assert "w_anomaly" not in _names(scan_datalist(tmp_path))


def test_kinds_that_are_not_read_are_said(tmp_path, caplog):
    _write(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.bz2").write_bytes(b"x")
    assert _names(scan_datalist(tmp_path)) == ["a"]
    assert "1 file(s) of a kind that is not read" in caplog.text
