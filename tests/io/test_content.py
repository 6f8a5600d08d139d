# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_cuas.io.content import content_of, entry_content, scan_files


def _replaced(path) -> None:
    """Other bytes, of the same size and time."""
    status = os.stat(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_content_counts_and_neither_time_nor_folder(tmp_path):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"voxels")
    first = content_of(path)
    os.utime(path, (1, 1))
    (tmp_path / "moved").mkdir()
    shutil.copy(path, tmp_path / "moved")
    assert content_of([tmp_path / "moved" / "scan.nii"]) == first
    _replaced(path)
    assert content_of(path) != first


@pytest.mark.parametrize("kind", ["img", "hdr", "mhd", "nhdr", "listed"])
def test_voxels_beside_their_header_count(tmp_path, kind):
    path = tmp_path / "scan.mhd"
    voxels = np.zeros((4, 4, 4), dtype=np.int16)
    if kind in ("img", "hdr"):
        nib.save(nib.Nifti1Pair(voxels, np.eye(4)), tmp_path / "scan.img")
        path, data = tmp_path / f"scan.{kind}", tmp_path / "scan.img"
    elif kind == "nhdr":
        path = tmp_path / "scan.nhdr"
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), useCompression=False)
        data = tmp_path / "scan.raw"
    else:
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
        data = (tmp_path / "scan.raw").rename(tmp_path / "voxels.dat")
        named = "voxels.dat" if kind == "mhd" else "LIST\nvoxels.dat"
        path.write_text(path.read_text().replace("scan.raw", named))
    assert str(data) in scan_files(path)
    first = content_of(path)
    _replaced(data)
    assert content_of(path) != first


def test_a_folder_is_what_is_in_it(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    first = content_of(folder)
    _replaced(folder / "1.dcm")
    assert content_of(folder) != first


def test_an_entry_is_its_image_label_and_brain_mask(tmp_path):
    for name in ("scan.nii", "label.nii"):
        (tmp_path / name).write_bytes(name.encode())
    entry = {"image": str(tmp_path / "scan.nii"), "label": str(tmp_path / "label.nii"), "subject": "s"}
    found = [entry_content(entry)]
    _replaced(tmp_path / "label.nii")
    found.append(entry_content(entry))
    (tmp_path / "scan_brain_mask.nii").write_bytes(b"mask")
    found.append(entry_content(entry))
    _replaced(tmp_path / "scan_brain_mask.nii")
    found.append(entry_content(entry))
    found.append(entry_content({**entry, "image_channels": [1]}))
    assert all(a != b for k, a in enumerate(found) for b in found[:k])
    assert content_of(tmp_path / "nowhere.nii") == [["nowhere.nii", ""]]
