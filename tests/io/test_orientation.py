# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from monai_cuas.io.orientation import axial_axis, from_ras, to_ras

CODES = ["".join(c) for p in itertools.permutations(("LR", "AP", "SI")) for c in itertools.product(*p)]


def _turned(codes: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A volume in RAS, the same in another order of axes, and the affine of that."""
    ras = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes)))
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ inv_ornt_aff(turn, ras.shape)
    return ras, nib.orientations.apply_orientation(ras, turn), affine


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orders_of_axes_are_turned_and_turned_back(codes):
    ras, volume, affine = _turned(codes)
    assert "".join(nib.aff2axcodes(affine)) == codes
    turned, spacing = to_ras(volume, affine)
    np.testing.assert_array_equal(turned, ras)
    np.testing.assert_allclose(spacing, (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(from_ras(turned, affine), volume)
    assert axial_axis(affine) == next(k for k, c in enumerate(codes) if c in "SI")


def test_an_oblique_scan_is_turned_to_the_nearest_axes():
    turn = nib.eulerangles.euler2mat(0.3, 0.2, -0.3)
    affine = nib.affines.from_matvec(turn @ np.diag([1.0, 2.0, 3.0]) @ np.diag([-1.0, 1.0, 1.0]))
    volume = np.arange(24).reshape(2, 3, 4)
    turned, spacing = to_ras(volume, affine)
    np.testing.assert_array_equal(turned, volume[::-1])
    np.testing.assert_allclose(spacing, (1.0, 2.0, 3.0))
