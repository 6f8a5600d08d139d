# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Volumes to files."""

from __future__ import annotations

import os
from typing import Any

import nibabel as nib
import numpy as np

from ...utils import replacing
from .geometry import HeaderForm

__all__ = ["ANOMALY_DESCRIPTION", "MASK_DESCRIPTION", "save_nifti"]

# By these results are known again, whatever they are called.
ANOMALY_DESCRIPTION, MASK_DESCRIPTION = "monai_cuas anomaly map", "monai_cuas lesion mask"


def save_nifti(
    path: str | os.PathLike,
    volume: np.ndarray,
    affine: np.ndarray,
    dtype: type,
    form: Any = None,
    description: str = "",
) -> None:
    """
    Write a volume in the grid of its scan, whole or not at all.

    MONAI's ``NibabelWriter`` writes in place, sets no units, and calls every qform exact.

    Args:
        path: ends in .nii.gz.
        volume: (X, Y, Z).
        affine: voxel to RAS millimetres; becomes sform and, unless sheared, which a qform cannot say, qform.
        dtype: of the file.
        form: :class:`HeaderForm` of the scan, or its array, to be used in place of ``affine`` number by number, so that
            every program lays the file over the scan; None for scans of other formats.
        description: what the header says of the file, up to 79 characters.
    """
    data: np.ndarray = np.asarray(volume).astype(dtype)
    image = _in_form(data, form) if form is not None else _in_millimetres(data, np.asarray(affine, dtype=np.float64))
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _in_millimetres(data: np.ndarray, affine: np.ndarray) -> Any:
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image.set_qform(affine, code=int(np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)))
    image.header.set_xyzt_units("mm", "sec")
    return image


def _in_form(data: np.ndarray, form: Any) -> Any:
    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    image = nib.Nifti1Image(data, None, header)
    # Without an affine nibabel leaves the header's matrices alone.
    (form if isinstance(form, HeaderForm) else HeaderForm.from_array(form)).write(image.header)
    return image
