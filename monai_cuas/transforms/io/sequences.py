# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Several sequences of one subject, such as FLAIR, T1 and T2, as the channels of one image on the first one's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample

from ...utils import ScanError
from .array import check_affine, check_finite, check_shape
from .background import background_value, foreground

__all__ = ["covered_by", "same_grid", "stack_sequences"]

_GRID_TOLERANCE = 0.01
_MIN_COVERED = 0.5
_REMEDY = "give images of one session that are registered to one another"


def _to_other(first: MetaTensor, other: MetaTensor) -> np.ndarray:
    """(4, 4): voxel indices of the first image to those of the other."""
    return np.linalg.inv(np.asarray(other.affine, dtype=float)) @ np.asarray(first.affine, dtype=float)


def same_grid(first: MetaTensor, other: MetaTensor) -> bool:
    """True if two images (C, X, Y, Z) have one shape and no corner lies more than 1% of a voxel apart."""
    if first.shape[1:] != other.shape[1:]:
        return False
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in first.shape[1:]], [1], indexing="ij")).reshape(4, -1)
    return bool(np.abs(_to_other(first, other) @ ends - ends).max() < _GRID_TOLERANCE)


def covered_by(first: MetaTensor, other: MetaTensor) -> np.ndarray:
    """
    Voxels of the first image that lie in the other's field of view.

    Args:
        first: (C, X, Y, Z).
        other: image of any grid.

    Returns:
        (X, Y, Z) boolean.
    """
    matrix = _to_other(first, other)
    indices = np.ogrid[tuple(slice(n) for n in first.shape[1:])]
    inside = np.ones(first.shape[1:], dtype=bool)
    for row, n in zip(matrix, other.shape[1:]):
        position = row[3] + sum(factor * index for factor, index in zip(row, indices))
        inside &= (position >= -0.5) & (position <= n - 0.5)
    return inside


def stack_sequences(images: Sequence[MetaTensor], files: Sequence[str]) -> MetaTensor:
    """
    Join images of one subject as channels; those on another grid are resampled to the first one's, linearly.

    What one of them does not cover is set to the background in all, so that it lies outside the brain.

    Args:
        images: each (1, X, Y, Z).
        files: names for the messages, one for each image.

    Returns:
        (C, X, Y, Z) with the metadata of the first.

    Raises:
        ScanError: for an image that is no single volume, or that covers less than half of what the first one shows.
    """
    for image, file in zip(images, files):
        check_shape(tuple(image.shape), file, 1)
        check_affine(image, file)
    first = images[0]
    channels, covered = [first.as_tensor()], np.ones(first.shape[1:], dtype=bool)
    for image, file in zip(images[1:], files[1:]):
        if not same_grid(first, image):
            covered &= _coverage(first, image, file, files[0])
            image = _resample(first, image, file)
        channels.append(image.as_tensor())
    if not covered.all():
        channels = [_blank(channel, covered) for channel in channels]
    return MetaTensor(torch.cat(channels), meta=first.meta, applied_operations=[])


def _coverage(first: MetaTensor, image: MetaTensor, file: str, first_file: str) -> np.ndarray:
    covered = covered_by(first, image)
    shown = foreground(np.asarray(first.as_tensor()))
    fraction = float(covered[shown].mean()) if shown.any() else float(covered.mean())
    if fraction == 0:
        raise ScanError(file, f"its field of view does not overlap that of {first_file}", _REMEDY)
    if fraction < _MIN_COVERED:
        raise ScanError(file, f"its field of view covers only {fraction:.0%} of what {first_file} shows", _REMEDY)
    return covered


def _resample(first: MetaTensor, image: MetaTensor, file: str) -> MetaTensor:
    # One NaN would spread to its neighbours.
    check_finite(np.asarray(image.as_tensor()), file)
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)  # type: ignore[arg-type]
    return resample(image, dst_affine=first.affine, spatial_size=first.shape[1:]).to(torch.float32)  # type: ignore[return-value]


def _blank(channel: torch.Tensor, covered: np.ndarray) -> torch.Tensor:
    return torch.where(torch.from_numpy(covered), channel, background_value(channel[0].numpy()))
