# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How alarmed a network is by normal scans as a whole."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["NormalLevel"]


class NormalLevel(nn.Module):
    """
    The highest level, over normal scans, of a network's map; a buffer that travels with the weights, NaN until set.

    ``JoinedMapInferer`` takes the median over the brain of log p for the level, and trusts the map less above it.
    """

    nan_is_unset = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("highest", torch.tensor(float("nan"), dtype=torch.float64))
        self.highest: torch.Tensor

    @property
    def is_known(self) -> bool:
        """Whether it is set."""
        return not bool(torch.isnan(self.highest))

    @torch.jit.unused
    def set_level(self, value: float) -> None:
        """Set the highest level."""
        self.highest.fill_(float(value))
