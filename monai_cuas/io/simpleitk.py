# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NRRD, MetaImage and pictures through SimpleITK, for MONAI's LoadImage (its own reader needs the itk package)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ..utils import PICTURE_SUFFIXES

__all__ = ["SimpleITKReader"]

_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", *PICTURE_SUFFIXES)


class SimpleITKReader(ImageReader):
    """
    Read volumes and pictures with SimpleITK. Only geometry goes into the metadata: nothing that identifies a person.

    A picture becomes a volume of one slice with pixels of 1 mm, whatever resolution its file claims, and its colours
    become channels. Its rows run to posterior and its columns to the left, so that it is shown as it was drawn.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True if every name ends in one of .nrrd .nhdr .mha .mhd or as pictures do."""
        return all(str(f).lower().endswith(_SUFFIXES) for f in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[sitk.Image]:  # type: ignore[override]
        """One image per path."""
        return [sitk.ReadImage(str(f)) for f in ensure_tuple(data)]

    def get_data(self, img: Sequence[sitk.Image]) -> tuple[np.ndarray, dict]:
        """Array (X, Y, Z), or (C, X, Y, Z) for several files, and its metadata with the affine in RAS."""
        arrays = [_array(image) for image in img]
        affine = _ras_affine(img[0])
        for image, array in zip(img[1:], arrays[1:]):
            if array.shape != arrays[0].shape or not np.allclose(_ras_affine(image), affine, atol=1e-3):
                raise RuntimeError("affine matrix of all images should be the same for channel-wise concatenation.")
        meta = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(arrays[0].shape[-3:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if len(arrays) > 1 or arrays[0].ndim > 3 else "no_channel",
        }
        return (np.stack(arrays) if len(arrays) > 1 else arrays[0]), meta


def _array(image: sitk.Image) -> np.ndarray:
    """SimpleITK counts axes backwards; components (colour, vectors) become leading channels, pictures one slice."""
    array = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
    return array[..., None] if image.GetDimension() == 2 else array


def _ras_affine(image: sitk.Image) -> np.ndarray:
    """Voxel to world matrix; SimpleITK's world is LPS, NIfTI's and MONAI's is RAS."""
    n = image.GetDimension()
    if n == 2:
        return np.diag([-1.0, -1.0, 1.0, 1.0])
    direction = np.asarray(image.GetDirection()).reshape(n, n)
    affine = np.eye(n + 1)
    affine[:n, :n] = direction * np.asarray(image.GetSpacing())
    affine[:n, n] = image.GetOrigin()
    affine[:2] *= -1
    return affine
