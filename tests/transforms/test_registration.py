# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing, pose_rotation, reference_mask
from monai_cuas.utils import CUASError

pytest.importorskip("nilearn", reason="the reference comes with nilearn: pip install monai_cuas[phantom]")


def turned(affine, angles, shift=(5, -8, 12)):
    """The same voxels, the head turned in the scanner."""
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    move[:3, 3] = shift
    return move @ affine


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, -8, 15), (-20, 5, -10)])
def test_known_rotation_is_found(angles):
    mask, affine = reference_mask("icbm152")
    found = pose_rotation(mask, turned(affine, angles))
    left = found @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    assert np.degrees(np.linalg.norm(Rotation.from_matrix(left).as_rotvec())) < 0.5


@pytest.fixture
def scan(tmp_path):
    """The template's brain with a bright ball, turned."""
    mask, affine = reference_mask("icbm152")
    rng = np.random.default_rng(0)
    image = np.where(mask, 100 + rng.normal(0, 3, mask.shape), 0).astype(np.float32)
    grid = np.indices(mask.shape) - np.array([60, 70, 45])[:, None, None, None]
    ball = (grid**2).sum(0) < 7**2
    image[ball] = 200
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image, turned(affine, (12, -8, 15))), path)
    return str(path), ball


@pytest.mark.parametrize("resize", [True, False])
def test_result_is_on_the_scans_own_grid(scan, resize):
    path, ball = scan
    pre = AnomalyPreprocessing(image_size=96, registration="icbm152", resize=resize, levels=(0.01, 0.1, 0.5, 0.9))
    data = pre({"image": path})
    post = AnomalyPostprocessing(pre, threshold=3.0)({**data, "pred": data["image"]})
    found = post["pred"][0].numpy() > 0
    assert found.shape == ball.shape
    np.testing.assert_array_equal(post["anomaly"].affine, nib.load(path).affine)
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.9
    assert np.abs(np.subtract(ndimage.center_of_mass(found), ndimage.center_of_mass(ball))).max() < 0.3


def test_network_grid_has_the_references_pose(tmp_path):
    mask, affine = reference_mask("icbm152")
    # A scanner whose axes stay while the head turns in it.
    turn = Rotation.from_euler("xyz", (12, -8, 15), degrees=True).as_matrix()
    centre = np.array(mask.shape) / 2
    leaning = ndimage.affine_transform(mask.astype(float), turn, centre - turn @ centre, order=1) > 0.5
    noise = 100 + np.random.default_rng(0).normal(0, 3, mask.shape)
    for name, inside in (("reference", mask), ("leaning", leaning)):
        image = np.where(inside, noise, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), tmp_path / f"{name}.nii.gz")
    plain, aligned = (AnomalyPreprocessing(image_size=64, slice_mask=True, registration=r) for r in (None, "icbm152"))
    path = str(tmp_path / "leaning.nii.gz")
    data = aligned({"image": path})
    truth = plain({"image": str(tmp_path / "reference.nii.gz")})["slice_mask"][0].numpy() > 0

    def dice(item):
        other = item["slice_mask"][0].numpy() > 0
        n = min(other.shape[2], truth.shape[2])
        a, b = other[..., :n], truth[..., :n]
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    assert dice(data) > 0.97
    assert dice(data) > dice(plain({"image": path})) + 0.03
    # The mask on the scan's own grid was not touched.
    np.testing.assert_array_equal(data["brain_mask"][0], np.asarray(nib.load(path).dataobj) > 0)


def test_reference_from_a_file(tmp_path):
    mask, affine = reference_mask("icbm152")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "ref.nii.gz")
    again, other = reference_mask(str(tmp_path / "ref.nii.gz"))
    np.testing.assert_array_equal(mask, again)
    np.testing.assert_allclose(affine, other)
    with pytest.raises(CUASError, match="no such reference"):
        reference_mask(str(tmp_path / "absent.nii.gz"))
