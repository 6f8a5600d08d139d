# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The brain of a preprocessed volume."""

from __future__ import annotations

import torch
from monai.utils import convert_to_tensor

__all__ = ["brain_of"]


def brain_of(volume: torch.Tensor) -> torch.Tensor:
    """
    Brain of a preprocessed volume, on the network's grid.

    It is no guess: ``ForegroundQuantileScale`` writes 0.001 or more inside the brain mask and exactly 0 outside, and
    resampling to the network's grid only lets the brain's edge grow by part of a voxel.

    Args:
        volume: (B, C, X, Y, Z), foreground-quantile coordinates.

    Returns:
        (B, 1, X, Y, Z) boolean, without metadata.
    """
    plain: torch.Tensor = convert_to_tensor(volume, track_meta=False)  # type: ignore[assignment]
    return plain.amax(dim=1, keepdim=True) > 0
