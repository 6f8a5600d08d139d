# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Backgrounds that are not one constant, brains in pieces, and what is no scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage
from scipy.spatial import cKDTree

from monai_cuas.transforms.io import BrainMaskd, ValidateScand
from monai_cuas.utils import ScanError

SHAPE = (44, 52, 24)
AFFINE = np.diag([4.0, 4.0, 6.0, 1.0])


def _scan(seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Tissue about 1000 with a dark rim, and where it is."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    brain = radius < 0.8
    tissue = 1000 + 300 * grid[0] + 150 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.7) * 3
    tissue = np.where(radius > 0.72, 300 + rng.normal(0, 40, SHAPE), tissue)
    return np.where(brain, tissue.clip(50), 0).astype(np.float32), brain


def _read(image, affine=AFFINE, allow=False):
    tensor = MetaTensor(torch.from_numpy(np.ascontiguousarray(image, np.float32))[None], affine=torch.tensor(affine))
    tensor.meta["filename_or_obj"] = "scan.nii.gz"
    item = BrainMaskd("image")(ValidateScand("image", allow_unstripped=allow)({"image": tensor}))
    return item["brain_mask"].numpy()[0] > 0, item["image"].meta.get("notes") or ""


def test_a_clean_scan_has_no_notes():
    image, brain = _scan()
    for changed in (image, image - 1024, image * 1e-9, image * 1e9, -image):
        mask, notes = _read(changed)
        np.testing.assert_array_equal(mask, brain)
        assert notes == ""


@pytest.mark.parametrize("value", [-32768, -1000, -7, 7, 100, 900, 4095, 1e6])
@pytest.mark.parametrize("where", ["slab", "corner", "one slice", "frame"])
@pytest.mark.parametrize("allow", [True, False])
def test_a_second_padding_is_background_and_said(value, where, allow):
    image, brain = _scan()
    x, y, z = np.indices(SHAPE)
    region = {"slab": z < 4, "corner": x + y < 30, "one slice": y < 1, "frame": (x < 4) | (x > 39) | (y < 4) | (y > 47)}
    image[region[where] & ~brain] = value
    mask, notes = _read(image, allow=allow)
    np.testing.assert_array_equal(mask, brain)
    assert "are padding and count as background" in notes


@pytest.mark.parametrize("value", [-5000.0, 3000.0, np.nan, np.inf])
def test_a_field_of_view_inside_another(value):
    image, brain = _scan()
    mask, notes = _read(np.pad(image, 9, constant_values=value))
    np.testing.assert_array_equal(mask, np.pad(brain, 9))
    assert notes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("standardised", [True, False])
def test_missing_numbers_outside_are_background_inside_they_are_refused(value, standardised):
    image, brain = _scan()
    if standardised:
        image = (image - image[brain].mean()) / image[brain].std()
    image[~brain] = value
    mask, notes = _read(image)
    np.testing.assert_array_equal(mask, brain)
    assert f"{int((~brain).sum())} voxels that are NaN or infinite" in notes
    image[22, 26, 12] = value
    with pytest.raises(ScanError, match="1 voxels are NaN or infinite"):
        _read(image)


@pytest.mark.parametrize("number", [1, 30, 400])
@pytest.mark.parametrize("value", [1e6, 1e9, -1e7])
def test_hot_voxels_do_not_set_the_range(number, value):
    image, brain = _scan()
    places = np.random.default_rng(1).permutation(np.flatnonzero(brain))[:number]
    image.ravel()[places] = value
    mask, notes = _read(image)
    assert (mask != brain).sum() <= 5
    assert f"{number} voxel(s) lie far beyond" in notes
    image = _scan()[0]
    image[0, 0, 0] = value
    assert (_read(image)[0] != brain).sum() == 0


@pytest.mark.parametrize("order", [2, 3, 5])
def test_ringing_of_splines_is_noticed(order):
    image, _ = _scan()
    turned = ndimage.rotate(image, 10, (0, 1), order=order, reshape=False)
    _, notes = _read(turned)
    assert "after resampling" in notes


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("whole", [True, False])
def test_a_little_noise_outside(width, whole):
    image, brain = _scan()
    noise = np.abs(np.random.default_rng(2).normal(0, width, SHAPE))
    image[~brain] = (np.round(noise) if whole else noise)[~brain]
    mask, _ = _read(image)
    assert (mask != brain).mean() < 0.002


def test_noise_as_around_a_head_is_refused():
    image, brain = _scan()
    image[~brain] = np.abs(np.random.default_rng(2).normal(0, 30, SHAPE))[~brain]
    with pytest.raises(ScanError, match="not skull-stripped.*--brain_extraction given"):
        _read(image)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("place", [0.3, 0.5])
def test_a_black_slice_costs_one_slice(axis, place):
    image, brain = _scan()
    cut = int(place * SHAPE[axis])
    index = tuple(cut if k == axis else slice(None) for k in range(3))
    image[index] = 0
    brain[index] = False
    mask, notes = _read(image)
    np.testing.assert_array_equal(mask, brain)
    assert "2 separate pieces, which all count" in notes


def test_a_part_of_a_brain_is_said():
    image, brain = _scan()
    mask, notes = _read(image[:, :, 10:13])
    np.testing.assert_array_equal(mask, brain[:, :, 10:13])
    assert f"only {brain[:, :, 10:13].sum() * 0.096:.0f} ml of brain are in view" in notes


def test_debris_is_dropped_and_said_if_it_is_much():
    image, brain = _scan()
    image[1, 1, 1] = 500
    mask, notes = _read(image)
    np.testing.assert_array_equal(mask, brain)
    assert notes == ""
    outside = ~ndimage.binary_dilation(brain, iterations=2)
    lattice = np.zeros(SHAPE, bool)
    lattice[::3, ::3, ::3] = True
    image[lattice & outside] = 500
    _, notes = _read(image, allow=True)
    assert "does not count" in notes


def _regions(number: int) -> np.ndarray:
    centres = np.random.default_rng(0).uniform(0, 1, (number, 3)) * SHAPE
    labels = cKDTree(centres).query(np.indices(SHAPE).reshape(3, -1).T)[1].reshape(SHAPE) + 1
    return np.where(_scan()[1], labels * 7, 0)


@pytest.mark.parametrize("number", [2, 12, 110, 500])
@pytest.mark.parametrize("factor", [1, 4])
def test_label_maps_are_refused_by_content(number, factor):
    with pytest.raises(ScanError, match="label map"):
        _read(_regions(number).repeat(factor, 0), AFFINE @ np.diag([1 / factor, 1, 1, 1]))


@pytest.mark.parametrize("change", ["uint8", "15 levels", "nearest neighbour", "smooth"])
def test_coarse_scans_are_no_label_maps(change):
    image, _ = _scan()
    affine = AFFINE
    if change == "nearest neighbour":
        image, affine = np.round(image).repeat(4, 0).repeat(4, 1), AFFINE @ np.diag([0.25, 0.25, 1, 1])
    elif change == "smooth":
        image = np.round(ndimage.gaussian_filter(image, 1) * (image > 0))
    else:
        image = np.round(image / image.max() * (255 if change == "uint8" else 15))
    assert _read(image, affine)[0].any()


def test_a_map_of_a_statistic_is_noticed():
    _, brain = _scan()
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2)
    _, notes = _read(np.where(brain, 1.7 * smooth / smooth.std(), 0))
    assert "looks like a map of a statistic" in notes


def test_implausible_sizes_are_refused_with_the_number():
    image, _ = _scan()
    for sizes, says in (((4, 4, 4000), "voxels of 4 x 4 x 4000 mm"), ((0.001,) * 3, "voxels of 0.001")):
        with pytest.raises(ScanError, match=says):
            _read(image, np.diag([*sizes, 1.0]))
    with pytest.raises(ScanError, match="field of view of 1056 mm"):
        _read(np.tile(image, (4, 1, 1)), np.diag([6.0, 4, 6, 1]))
    tiny = np.zeros(SHAPE)
    tiny[20:22, 20:22, 10:12] = np.random.default_rng(0).uniform(100, 200, (2, 2, 2))
    with pytest.raises(ScanError, match="a brain of 0.768 ml"):
        _read(tiny)
    one = np.zeros(SHAPE)
    one[20, 20, 10] = 1000
    with pytest.raises(ScanError, match="all voxels but 1 have the same value"):
        _read(one)
