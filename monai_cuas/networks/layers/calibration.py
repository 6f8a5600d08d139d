# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From a raw map to a score with a meaning: -log10 of the rate at which healthy brain voxels reach it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ...utils import CUASError

__all__ = ["DEFAULT_RATES", "ScoreCalibration"]

DEFAULT_RATES = (0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


class ScoreCalibration(nn.Module):
    """
    Monotone piecewise-linear map of raw map values to -log10 of the healthy exceedance rate.

    The thresholds are buffers, NaN until set, so they travel with the weights. A rate whose threshold is NaN (too few
    normal scans) is skipped.

    Args:
        rates: healthy exceedance rates in (0, 1), descending.

    Raises:
        ValueError: if the rates do not descend or leave (0, 1).
    """

    def __init__(self, rates: Sequence[float] = DEFAULT_RATES) -> None:
        super().__init__()
        if any(not 0 < r < 1 for r in rates) or any(a <= b for a, b in zip(rates, rates[1:])):
            raise ValueError(f"rates must descend within (0, 1), got {tuple(rates)}.")
        self.register_buffer("rates", torch.tensor(rates, dtype=torch.float64))
        self.register_buffer("thresholds", torch.full((len(rates),), float("nan"), dtype=torch.float64))
        self.rates: torch.Tensor
        self.thresholds: torch.Tensor

    @property
    def is_calibrated(self) -> bool:
        """Whether at least two thresholds are known, which a line needs."""
        return int((~torch.isnan(self.thresholds)).sum()) >= 2

    @torch.jit.unused
    def set_(self, thresholds: torch.Tensor) -> None:
        """
        Set the thresholds.

        Args:
            thresholds: raw map values, one for each rate, ascending; NaN where unknown.

        Raises:
            ValueError: if the number is wrong or the known ones descend.
        """
        values = torch.as_tensor(thresholds, dtype=torch.float64)
        known = values[~torch.isnan(values)]
        if values.shape != self.rates.shape or bool((known.diff() < 0).any()):
            raise ValueError(f"thresholds must be {len(self.rates)} ascending numbers, got {values.tolist()}.")
        self.thresholds.copy_(values)

    @torch.jit.unused
    def threshold(self, rate: float) -> float:
        """
        Raw map value that healthy voxels exceed at ``rate``, linear in the logarithm of the rate between known ones.

        Raises:
            CUASError: if not calibrated, or the rate lies beyond the smallest or largest known one.
        """
        self.require(rate)
        known = ~torch.isnan(self.thresholds)
        x, y = -self.rates[known].log10(), self.thresholds[known]
        score = -math.log10(rate)
        k = min(int((x <= score).sum()) - 1, len(x) - 2)
        return float(y[k] + (y[k + 1] - y[k]) * (score - x[k]) / (x[k + 1] - x[k]))

    @torch.jit.unused
    def require(self, rate: float) -> None:
        """
        Check that a healthy rate can be asked for.

        Raises:
            CUASError: if not calibrated, or the calibration scans do not support the rate.
        """
        if not self.is_calibrated:
            raise CUASError(
                "These weights carry no calibration, so no threshold is known; run the bundle's calibrate.json on "
                "normal scans first."
            )
        known = self.rates[~torch.isnan(self.thresholds)]
        low, high = float(known.min()), float(known.max())
        if not low * (1 - 1e-9) <= rate <= high * (1 + 1e-9):
            raise CUASError(
                f"The healthy rate {rate:g} is not supported by the calibration, which knows {low:g} to {high:g}; "
                "ask for one of these or calibrate with more normal scans."
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: raw map, any shape.

        Returns:
            -log10 of the healthy exceedance rate, >= 0, linear beyond the known rates; ``x`` itself if not calibrated.
            Where several rates share a threshold (a saturated map), the value gets the largest of the rates and what
            lies above it the smallest: so the part of the map at that value is not found at a rate it does not keep.
        """
        known = torch.logical_not(torch.isnan(self.thresholds))
        n = int(known.sum())
        if n < 2:
            return x
        # thresholds of small rates lie closer together than half precision (AMP) can tell
        if x.dtype != torch.float64:
            x = x.float()
        knots = self.thresholds[known].to(x.dtype)
        scores = -torch.log10(self.rates[known]).to(x.dtype)
        steps = knots[1:] - knots[:-1]
        # equal thresholds have no slope; beyond an outermost pair of them the slope of the whole range is taken
        whole = (scores[n - 1] - scores[0]) / (knots[n - 1] - knots[0]).clamp(min=1e-12)
        slopes = torch.where(steps > 0, (scores[1:] - scores[:-1]) / steps.clamp(min=1e-12), whole)
        y = scores[0] + slopes[0] * (x - knots[0])
        for k in range(n):
            y = torch.where(x > knots[k], scores[k] + slopes[min(k, n - 2)] * (x - knots[k]), y)
        return y.clamp(min=0.0)
