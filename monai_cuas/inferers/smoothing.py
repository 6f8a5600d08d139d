# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Smoothing of a map within the brain, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.networks.layers import GaussianFilter
from torch import nn

__all__ = ["BrainSmoothing", "spacing_of"]


def spacing_of(inputs: torch.Tensor) -> tuple[float, ...]:
    """Voxel size in mm of volumes (B, C, X, Y, Z), of the first of them; 1 mm where the tensor does not tell."""
    if not isinstance(inputs, MetaTensor):
        return (1.0, 1.0, 1.0)
    affine = inputs.affine
    return tuple(float(size) for size in affine_to_spacing(affine[0] if affine.ndim == 3 else affine))


# mm; half of a head
_LARGEST = 100


class BrainSmoothing(nn.Module):
    """
    MONAI's ``GaussianFilter`` in 3D, normalised so that nothing of the background is mixed in.

    Args:
        sigma: standard deviation in mm, a number or one for each axis; 0: none. Across thick slices it is less than a
            voxel, so that they are not mixed.

    Raises:
        ValueError: if it is negative or of a wrong length.
    """

    def __init__(self, sigma: float | Sequence[float] = 0.0) -> None:
        super().__init__()
        values = [float(sigma)] * 3 if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
        if len(values) != 3 or not all(0 <= value <= _LARGEST for value in values):
            raise ValueError(f"smoothing must be a number or three, of 0 to {_LARGEST} mm, got {sigma}.")
        self.sigma = tuple(values)

    def forward(
        self, maps: torch.Tensor, brain: torch.Tensor, spacing: Sequence[float] = (1.0, 1.0, 1.0)
    ) -> torch.Tensor:
        """
        Args:
            maps: (B, 1, X, Y, Z).
            brain: bool, of the same shape.
            spacing: voxel size in mm.

        Returns:
            The smoothed map, 0 outside the brain; ``maps`` itself without a sigma.
        """
        if not max(self.sigma):
            return maps
        # a sigma of exactly 0 would divide by it
        blur = GaussianFilter(3, [max(s / mm, 1e-3) for s, mm in zip(self.sigma, spacing)]).to(maps.device)
        inside = brain.to(maps.dtype)
        return torch.where(brain, blur(maps * inside) / blur(inside).clamp(min=1e-3), 0.0)
