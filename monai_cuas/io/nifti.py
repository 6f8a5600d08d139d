# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Volumes to files."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np

from ..utils import replacing

__all__ = ["save_nifti"]


def save_nifti(path: str | os.PathLike, volume: np.ndarray, affine: np.ndarray, dtype: type) -> None:
    """
    Write a volume in the grid of its scan, whole or not at all.

    MONAI's ``NibabelWriter`` writes in place, sets no units, and calls every qform exact.

    Args:
        path: ends in .nii.gz.
        volume: (X, Y, Z).
        affine: voxel to RAS millimetres; becomes sform and, unless sheared, which a qform cannot say, qform.
        dtype: of the file.
    """
    image = nib.Nifti1Image(np.asarray(volume).astype(dtype), np.asarray(affine, dtype=np.float64))
    image.set_sform(affine, code=1)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image.set_qform(affine, code=int(np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)))
    image.header.set_xyzt_units("mm", "sec")
    with replacing(path) as temporary:
        nib.save(image, temporary)
