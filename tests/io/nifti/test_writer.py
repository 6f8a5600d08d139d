# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.io.nifti import save_nifti

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def _affine(shear=0.0):
    affine = np.diag([-2.0, 1.5, 4.0, 1.0])
    affine[:3, 3] = (10, -20, 5)
    affine[1, 2] = shear
    return affine


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_values_grid_and_units(tmp_path, suffix):
    save_nifti(tmp_path / f"a{suffix}", VOLUME, _affine(), np.int16)
    image = nib.load(tmp_path / f"a{suffix}")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOLUME)
    np.testing.assert_allclose(image.get_sform(), _affine())
    np.testing.assert_allclose(image.get_qform(), _affine())
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_is_in_the_sform_alone(tmp_path):
    save_nifti(tmp_path / "a.nii.gz", VOLUME, _affine(shear=1.0), np.float32)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert int(header["qform_code"]) == 0
    np.testing.assert_allclose(header.get_sform(), _affine(shear=1.0))


def test_bytes_depend_on_the_content_alone(tmp_path, monkeypatch):
    save_nifti(tmp_path / "a.nii.gz", VOLUME, _affine(), np.float32)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    save_nifti(tmp_path / "b.nii.gz", VOLUME, _affine(), np.float32)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_nifti(tmp_path / "a.nii.gz", VOLUME, _affine(), np.float32)
    before = (tmp_path / "a.nii.gz").read_bytes()

    def full(image, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_nifti(tmp_path / "a.nii.gz", VOLUME + 1, _affine(), np.float32)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before
