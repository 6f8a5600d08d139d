# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The axes of a scan: arrays turned to RAS for the work and back, without interpolation."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

__all__ = ["affine_of", "axial_axis", "from_ras", "to_ras"]


def affine_of(img: NdarrayOrTensor) -> np.ndarray:
    """Voxel to world matrix (4, 4) of an image (C, X, Y, Z); the identity if it has none."""
    return np.asarray(img.affine, dtype=float) if isinstance(img, MetaTensor) else np.eye(4)


def axial_axis(affine: Any) -> int:
    """Voxel axis that mostly runs from feet to head, for a 4 x 4 voxel to RAS matrix."""
    return int(np.argmax(io_orientation(np.asarray(affine))[:, 0] == 2))


def to_ras(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Flip and swap axes until they run right, anterior, superior as nearly as may be.

    Args:
        volume: (X, Y, Z).
        affine: (4, 4).

    Returns:
        The volume, and its voxel size in mm (3,) in the new order of axes.
    """
    turn = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    turned = affine @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    return np.ascontiguousarray(apply_orientation(volume, turn)), nib.affines.voxel_sizes(turned)


def from_ras(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo :func:`to_ras`; ``affine`` is the one that was given to it."""
    turn = ornt_transform(axcodes2ornt("RAS"), io_orientation(affine))
    return np.ascontiguousarray(apply_orientation(volume, turn))
