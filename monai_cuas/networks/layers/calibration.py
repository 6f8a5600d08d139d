# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
From a raw map to a score with a meaning: -log10 of the rate at which healthy brain voxels reach it.

Two scales travel with the weights: the pooled one, and the guaranteed one (docs/explanation/calibration.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

__all__ = [
    "DEFAULT_RATES",
    "MAX_SCANS",
    "GuaranteedCalibration",
    "ScoreCalibration",
    "ScoreScale",
]

DEFAULT_RATES = (0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)

MAX_SCANS = 1024
"""As many calibration scans' scores are kept; the length is fixed, as exporters copy buffers of equal shape alone."""


class ScoreScale(nn.Module):
    """
    Monotone piecewise-linear map of raw map values to -log10 of the healthy exceedance rate.

    The thresholds are buffers, NaN until set, so they travel with the weights. A rate whose threshold is NaN (too few
    normal scans) is skipped. The calibration scans' own scores travel too, for the p-value of a further scan.

    Args:
        rates: healthy exceedance rates in (0, 1), descending.

    Raises:
        ValueError: if the rates do not descend or leave (0, 1).
    """

    kind = "pooled"
    nan_is_unset = True

    def __init__(self, rates: Sequence[float] = DEFAULT_RATES) -> None:
        super().__init__()
        if any(not 0 < r < 1 for r in rates) or any(a <= b for a, b in zip(rates, rates[1:])):
            raise ValueError(f"rates must descend within (0, 1), got {tuple(rates)}.")
        self.register_buffer("rates", torch.tensor(rates, dtype=torch.float64))
        self.register_buffer("thresholds", torch.full((len(rates),), float("nan"), dtype=torch.float64))
        self.register_buffer("scan_scores", torch.full((MAX_SCANS,), float("nan"), dtype=torch.float64))
        self.rates: torch.Tensor
        self.thresholds: torch.Tensor
        self.scan_scores: torch.Tensor

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
    def scan_threshold(self, scores: torch.Tensor, threshold: float) -> float:
        """
        Threshold for one scan.

        Args:
            scores: of all its brain voxels, any shape, on this scale.
            threshold: the one for every scan.

        Returns:
            ``threshold`` itself.
        """
        return threshold

    @property
    def n_scans(self) -> int:
        """How many calibration scans' scores are kept; 0 in weights that were calibrated before they were."""
        return int((~torch.isnan(self.scan_scores)).sum())

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


class GuaranteedCalibration(ScoreScale):
    """
    Thresholds whose rate on a further healthy scan is guaranteed in expectation, by conformal risk control.

    The score must be formed last, of the map on the scan's own grid: formed earlier, what follows it would depend on
    the calibration scans, and the guarantee would not hold. ``GuaranteedInferer`` sees to it.

    Args:
        rates: as in :class:`ScoreScale`.
    """

    kind = "guaranteed"

    def __init__(self, rates: Sequence[float] = DEFAULT_RATES) -> None:
        super().__init__(rates)
        self.register_buffer("max_fraction", torch.tensor(1.0, dtype=torch.float64))
        self.max_fraction: torch.Tensor

    @torch.jit.unused
    def scan_threshold(self, scores: torch.Tensor, threshold: float) -> float:
        """
        Threshold for one scan, raised where more than :attr:`max_fraction` of its brain would be found.

        Args:
            scores: of all its brain voxels, any shape, on this scale.
            threshold: the one for every scan.

        Returns:
            The threshold that keeps the found share within the bound.
        """
        flat = scores.flatten()
        allowed = math.floor(float(self.max_fraction) * len(flat))
        if int((flat >= threshold).sum()) <= allowed:
            return threshold
        # the highest value that may not be found; equal ones are not found either
        limit = flat.topk(allowed + 1).values[-1]
        return float(torch.nextafter(limit, torch.full_like(limit, math.inf)))


class ScoreCalibration(ScoreScale):
    """
    The pooled scale, and the guaranteed one beside it as ``guaranteed``.

    Args:
        rates: healthy exceedance rates in (0, 1), descending.

    Raises:
        ValueError: if the rates do not descend or leave (0, 1).
    """

    def __init__(self, rates: Sequence[float] = DEFAULT_RATES) -> None:
        super().__init__(rates)
        self.guaranteed = GuaranteedCalibration(rates)
