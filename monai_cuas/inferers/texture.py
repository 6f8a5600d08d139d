# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How fine-grained a scan is on the network's grid, which tells one scanner and slice thickness from another."""

from __future__ import annotations

from typing import Any

import torch

from .brain import brain_of
from .inferer import StandardizedIntensityInferer
from .smoothing import BrainSmoothing

__all__ = ["texture_of"]

# in pixels of the network's grid, not in mm: it is pixels that the network has learnt
_SMOOTH = BrainSmoothing((2.0, 2.0, 0.0))


def texture_of(volume: torch.Tensor, network: Any, inside: torch.Tensor | None = None) -> float:
    """
    Texture of a scan: the median of |x - G x|, x the standardised intensity and G a Gaussian of 2 pixels in the plane.

    Noise and sharp tissue edges make it larger, averaging over thick slices and interpolation smaller. As a median it
    hardly moves with a lesion; it knows nothing of the network but its standardisation.

    Args:
        volume: one scan, (1, C, X, Y, Z), foreground-quantile coordinates, background 0.
        network: its ``standardize`` gives the intensity.
        inside: the voxels that count, (1, 1, X, Y, Z); None: the brain.

    Returns:
        On the scale of the standardised intensity; NaN if no voxel counts.
    """
    image, brain = StandardizedIntensityInferer()(volume, network), brain_of(volume)
    fine = (image - _SMOOTH(image, brain)).abs()[brain if inside is None else inside]
    return float(fine.median()) if fine.numel() else float("nan")
