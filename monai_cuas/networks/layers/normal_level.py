# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What normal scans are to a network: how alarmed it is by them, their texture, what their brightness is worth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["NormalLevel"]

_KNOTS = 16


class NormalLevel(nn.Module):
    """
    Figures of normal scans by which ``JoinedMapInferer`` knows a scan that a network is out of its depth on.

    They are buffers that travel with the weights, NaN until set; weights of before they were kept have none.

    Attributes:
        highest: the highest level that is expected of a normal scan: the median over the brain of log p.
        texture: the lowest and the highest texture (``texture_of``) that a normal scan is expected to have.
        contrast: the lowest and the highest contrast between depth and rim (``depth_contrast_of``) of a normal scan.
        worth: intensities (first row) and the joined map's values (second row) that equal shares of normal voxels
            reach, ascending, as many as are known.
    """

    nan_is_unset = True
    later_buffers = ("texture", "contrast", "worth")

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("highest", torch.tensor(float("nan"), dtype=torch.float64))
        self.register_buffer("texture", torch.full((2,), float("nan"), dtype=torch.float64))
        self.register_buffer("contrast", torch.full((2,), float("nan"), dtype=torch.float64))
        self.register_buffer("worth", torch.full((2, _KNOTS), float("nan"), dtype=torch.float64))
        self.highest: torch.Tensor
        self.texture: torch.Tensor
        self.contrast: torch.Tensor
        self.worth: torch.Tensor

    @property
    def is_known(self) -> bool:
        """Whether the level is set."""
        return not bool(torch.isnan(self.highest))

    @torch.jit.unused
    def set_level(self, value: float) -> None:
        """Set the highest level."""
        self.highest.fill_(float(value))

    @torch.jit.unused
    def set_texture(self, low: float, high: float) -> None:
        """Set what texture a normal scan is expected to have."""
        self.texture.copy_(torch.tensor([low, high], dtype=torch.float64))

    @torch.jit.unused
    def is_strange(self, texture: float) -> bool:
        """Whether a scan's texture lies outside that of normal scans; False where either is not known."""
        return texture < float(self.texture[0]) or texture > float(self.texture[1])

    @torch.jit.unused
    def set_contrast(self, low: float, high: float) -> None:
        """Set what contrast between depth and rim a normal scan is expected to have."""
        self.contrast.copy_(torch.tensor([low, high], dtype=torch.float64))

    @torch.jit.unused
    def is_other_contrast(self, contrast: float) -> bool:
        """Whether a scan's contrast lies outside that of normal scans; False where either is not known."""
        return contrast < float(self.contrast[0]) or contrast > float(self.contrast[1])

    @torch.jit.unused
    def set_worth(self, intensity: torch.Tensor, joined: torch.Tensor) -> None:
        """
        Set what intensities are worth.

        Args:
            intensity: in (0, 1), ascending, (n,) with n up to 16; of equal ones the last counts.
            joined: values of the joined map, in (0, 1), ascending, (n,).

        Raises:
            ValueError: if there are too many.
        """
        if len(intensity) > _KNOTS:
            raise ValueError(f"there is room for {_KNOTS} intensities, got {len(intensity)}.")
        kept = torch.cat([intensity.diff() > 0, torch.ones(min(1, len(intensity)), dtype=torch.bool)])
        self.worth.fill_(float("nan"))
        self.worth[:, : int(kept.sum())] = torch.stack([intensity[kept], joined[kept]]).to(self.worth)

    @property
    def knows_worth(self) -> bool:
        """Whether intensities have a worth."""
        return not bool(torch.isnan(self.worth[0, 0]))

    @torch.jit.unused
    def worth_of(self, intensity: torch.Tensor) -> torch.Tensor:
        """
        Values of the joined map that as many normal voxels reach.

        Args:
            intensity: in [0, 1], any shape.

        Returns:
            In [0, 1], of the same shape; it rises with the intensity, linear between what is known, 0 and 1.
        """
        known = self.worth[:, ~torch.isnan(self.worth[0])].to(intensity)
        x, y = F.pad(F.pad(known, (1, 0), value=0.0), (0, 1), value=1.0)
        k = torch.bucketize(intensity, x[1:-1])
        return y[k] + (y[k + 1] - y[k]) * (intensity - x[k]) / (x[k + 1] - x[k]).clamp(min=1e-9)
