# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing
from monai_cuas.utils import ScanError


def write(path, values):
    values = np.asarray(values, dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=values.ndim == 3), str(path))
    return str(path)


@pytest.fixture
def noise():
    """(rows, columns, colours), no pixel is 0."""
    return np.random.default_rng(0).integers(20, 220, (20, 32, 3))


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_picture_is_a_volume_of_one_slice(tmp_path, noise, suffix, colours):
    values = noise if colours == 3 else noise[..., 0]
    pre = AnomalyPreprocessing(image_size=32, pictures=True, margin_mm=0, in_channels=colours)
    item = pre({"image": write(tmp_path / f"a.{suffix}", values)})
    assert item["image"].shape == (colours, 32, 32, 1)
    assert item["brain_mask"].shape == (1, 32, 20, 1)  # columns first, as in a NIfTI file
    assert item["brain_mask"].all()


def test_the_map_returns_to_the_pictures_grid(tmp_path, noise):
    """Columns and rows keep their places through resizing and back; the square's other pixels are no foreground."""
    pre = AnomalyPreprocessing(image_size=32, pictures=True, margin_mm=0)
    item = pre({"image": write(tmp_path / "a.png", noise[..., 0])})
    assert item["image"].count_nonzero() == 32 * 20
    out = AnomalyPostprocessing(pre)({**item, "pred": item["image"].clone()})
    back = np.asarray(out["anomaly"])[0, :, :, 0]
    assert back.shape == (32, 20)
    assert np.corrcoef(back.ravel(), noise[..., 0].T.ravel())[0, 1] > 0.99


def test_foreground_of_what_was_cut_out(tmp_path, noise):
    """Most of the border is exactly 0: the object alone is foreground, and its holes are filled."""
    cut = np.zeros((20, 32))
    cut[4:16, 5:25] = noise[4:16, 5:25, 0]
    cut[8:10, 9:12] = 0
    cut[0, 0:3] = 9  # a speck apart from it
    mask = AnomalyPreprocessing(image_size=32, pictures=True)({"image": write(tmp_path / "a.png", cut)})["brain_mask"]
    assert int(mask.sum()) == 12 * 20
    assert mask[0, 5:25, 4:16, 0].all()


def test_without_planar_a_picture_is_refused_and_with_it_a_volume(tmp_path, noise):
    file = write(tmp_path / "a.png", noise[..., 0])
    with pytest.raises(ScanError, match="single slice .* or set pictures for pictures"):
        AnomalyPreprocessing(image_size=32)({"image": file})
    nib.save(nib.Nifti1Image(noise.astype(np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ScanError, match="leave pictures off for volumes"):
        AnomalyPreprocessing(image_size=32, pictures=True)({"image": str(tmp_path / "a.nii.gz")})
    with pytest.raises(ScanError, match="3 sequences, but the network takes 1"):
        AnomalyPreprocessing(image_size=32, pictures=True, in_channels=1)({"image": write(tmp_path / "c.png", noise)})


def test_resolution_that_a_picture_claims_is_not_believed(tmp_path, noise):
    image = sitk.GetImageFromArray(noise[..., 0].astype(np.uint8))
    image.SetSpacing((0.1, 0.3))
    sitk.WriteImage(image, str(tmp_path / "a.tif"))
    item = AnomalyPreprocessing(image_size=32, pictures=True)({"image": str(tmp_path / "a.tif")})
    np.testing.assert_array_equal(np.asarray(item["brain_mask"].affine), np.diag([-1, -1, 1, 1]))
