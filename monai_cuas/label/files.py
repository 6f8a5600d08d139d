# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Volumes in the formats that the viewers ask for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..io.nifti import save_nifti
from ..transforms.io import LoadScand
from .requests import check_size, refuse

__all__ = ["read_label", "read_volume", "write_volume"]

_FLIP = np.diag([-1.0, -1.0, 1.0])


def write_volume(
    path: str | os.PathLike,
    volume: np.ndarray,
    affine: np.ndarray,
    compress: bool = True,
    form: np.ndarray | None = None,
) -> Path:
    """
    Write a volume of any dtype as NIfTI or NRRD, by the path's suffix.

    Args:
        path: ends in .nii.gz, .nii or .nrrd.
        volume: (X, Y, Z).
        affine: 4 x 4, voxel to RAS millimetres.
        compress: of NRRD only.
        form: the scan's header form for NIfTI, see :func:`save_nifti`.

    Raises:
        HTTPException: 422 if the axes are sheared (a tilted gantry), which NRRD through ITK cannot say.
    """
    path = Path(path)
    if path.name.endswith((".nii.gz", ".nii")):
        save_nifti(path, volume, affine, volume.dtype.type, form)
        return path
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = _FLIP @ (affine[:3, :3] / spacing)
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise refuse(422, "The scan's axes are sheared, which NRRD cannot hold; ask for .nii.gz.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((_FLIP @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def read_label(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """
    Read a label as a viewer saved it.

    Returns:
        (X, Y, Z) array and its affine, 4 x 4.

    Raises:
        ScanError: if it cannot be read.
        HTTPException: 422 if it is no volume of whole numbers from 0 to 255, or its voxels are in another file; 413 if
            it claims too many.
    """
    check_size(path)
    array, affine = _read(path)
    # beyond 255 a byte begins at 0 again, and a lesion would be background
    whole = array.ndim == 4 and len(array) == 1 and ((array >= 0) & (array <= 255)).all()
    if not whole or (array != np.rint(array)).any():
        raise refuse(422, "The label must be one volume of whole numbers from 0 to 255, 0 for background.")
    return array[0].astype(np.uint8), affine


def read_volume(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """
    Read a volume that :func:`write_volume` wrote.

    Returns:
        (X, Y, Z) array of float32 and its affine, 4 x 4.
    """
    array, affine = _read(path)
    return array[0].astype(np.float32), affine


def _read(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(C, X, Y, Z) and its affine."""
    volume = LoadScand("volume")({"volume": os.fspath(path)})["volume"]
    return np.asarray(volume), np.asarray(volume.affine, dtype=np.float64)
