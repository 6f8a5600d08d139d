# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a large lesion anywhere in a scan does to the standardised intensity of its healthy tissue (array version)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .scale import FINE_LEVELS, RandScanChange

__all__ = ["RandLandmarkShift"]

# a lesion's own intensities vary by so much on the standardised scale
_SPREAD = 0.04


class RandLandmarkShift(RandScanChange):
    """
    Shift a healthy slice as a large lesion elsewhere in the scan would.

    A scan is standardised by quantiles of its brain. A lesion that fills a tenth or a fifth of it is part of these, so
    all healthy tissue of that scan is a little too bright or too dark, which normal scans never are: a network that
    knows only these is alarmed everywhere, and most by the patients who have most to find. Each draw takes a lesion of
    a share of the brain and of an intensity, and standardises the slice as that scan would have been.

    Args:
        quantiles: raw intensity of the training normals at each of ``levels``, (n_scans, C, K).
        share: largest share of the brain that the lesion fills, in (0, 0.5].
        bright: how often it is brighter than nearly all healthy tissue; else it is darker than most of it.
        prob: probability of a shift.
        levels: of the quantiles, ascending, within (0, 1).

    Raises:
        ValueError: if an argument is out of its range or a shape does not fit.
    """

    def __init__(
        self,
        quantiles: torch.Tensor,
        share: float = 0.3,
        bright: float = 0.5,
        prob: float = 0.5,
        levels: Sequence[float] = FINE_LEVELS,
    ) -> None:
        super().__init__(quantiles, levels, prob)
        if not 0 < share <= 0.5:
            raise ValueError(f"share must be above 0 and at most 0.5, got {share}.")
        if not 0 <= bright <= 1:
            raise ValueError(f"bright must be from 0 to 1, got {bright}.")
        self.share, self.bright = share, float(bright)
        self._lesion = (0.0, 0.0, False)

    def randomize(self, data: Any = None) -> None:
        """Draw whether there is a lesion, its share, its intensity and its side."""
        super().randomize(None)
        if self._do_transform:
            self._lesion = (self.R.uniform(0, self.share), self.R.uniform(), bool(self.R.uniform() < self.bright))

    def changed(self, x: np.ndarray, channel: int) -> np.ndarray:
        share, how, bright = self._lesion
        healthy = self.scale.samples[channel]
        low, high = np.quantile(healthy, (0.85, 1.0)) + (0.0, 0.3) if bright else np.quantile(healthy, (0.02, 0.5))
        count = round(share / (1 - share) * len(healthy))
        lesion = low + how * (high - low) + np.linspace(-_SPREAD, _SPREAD, count)
        return self.scale.standardised(x, np.concatenate([healthy, lesion]), channel)
