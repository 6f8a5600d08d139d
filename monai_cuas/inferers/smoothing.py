# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Smoothing of a map within the brain, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import GaussianFilter
from torch import nn

__all__ = ["BrainSmoothing"]


class BrainSmoothing(nn.Module):
    """
    MONAI's ``GaussianFilter`` in 3D, normalised so that nothing of the background is mixed in.

    Args:
        sigma: standard deviation in voxels of the network's grid, a number or one for each axis; 0: none.

    Raises:
        ValueError: if it is negative or of a wrong length.
    """

    def __init__(self, sigma: float | Sequence[float] = 0.0) -> None:
        super().__init__()
        values = [float(sigma)] * 3 if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
        if len(values) != 3 or min(values) < 0:
            raise ValueError(f"smoothing must be a number or three, not negative, got {sigma}.")
        self.sigma = tuple(values)
        # a sigma of exactly 0 would divide by it
        self.blur = GaussianFilter(3, [max(s, 1e-3) for s in values]) if max(values) > 0 else None

    def forward(self, maps: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        """
        Args:
            maps: (B, 1, X, Y, Z).
            brain: bool, of the same shape.

        Returns:
            The smoothed map, 0 outside the brain; ``maps`` itself without a sigma.
        """
        if self.blur is None:
            return maps
        inside, blur = brain.to(maps.dtype), self.blur.to(maps.device)
        return torch.where(brain, blur(maps * inside) / blur(inside).clamp(min=1e-3), 0.0)
