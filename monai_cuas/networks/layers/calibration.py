# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
From a raw map to a score with a meaning: -log10 of the rate at which healthy brain voxels reach it.

Two scales travel with the weights: the pooled one, and the guaranteed one (docs/calibration.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ...metrics import top_fraction_mean
from ...utils import CUASError

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

    @torch.jit.unused
    def inverse(self, scores: np.ndarray) -> np.ndarray:
        """Raw map values of scores, any shape; linear beyond the known rates; ``scores`` itself if not calibrated."""
        if not self.is_calibrated:
            return scores
        known = ~torch.isnan(self.thresholds)
        x, y = (v[known].cpu().numpy() for v in (self.thresholds, -self.rates.log10()))
        # as in forward(): an outermost pair of equal thresholds takes the slope of the whole range
        whole = (x[-1] - x[0]) / (y[-1] - y[0])
        first, last = (b - a if b > a else whole * (v - u) for a, b, u, v in ((*x[:2], *y[:2]), (*x[-2:], *y[-2:])))
        above = np.maximum(scores - y[-1], 0.0) * last / (y[-1] - y[-2])
        below = np.minimum(scores - y[0], 0.0) * first / (y[1] - y[0])
        return np.interp(scores, y, x) + above + below

    @torch.jit.unused
    def statistic(self, scores: np.ndarray) -> float:
        """
        What scans are ranked by: the mean of the highest 0.1% of the raw map, which knows nothing of the thresholds.

        The score itself will not do: it was fitted on the calibration scans, so they would not be exchangeable with a
        further one.

        Args:
            scores: of all brain voxels of a scan, on this scale.
        """
        return top_fraction_mean(self.inverse(np.asarray(scores, dtype=np.float64)))

    @torch.jit.unused
    def set_scan_scores(self, values: Sequence[float]) -> None:
        """
        Keep the calibration scans' :meth:`statistic`, of the first 1024 of them if there are more.

        Args:
            values: one number for each scan.
        """
        kept = torch.as_tensor(list(values)[:MAX_SCANS], dtype=torch.float64)
        self.scan_scores.fill_(float("nan"))
        self.scan_scores[: len(kept)] = kept.to(self.scan_scores.device)

    @property
    def n_scans(self) -> int:
        """How many calibration scans' scores are kept; 0 in weights that were calibrated before they were."""
        return int((~torch.isnan(self.scan_scores)).sum())

    @torch.jit.unused
    def p_value(self, scores: np.ndarray) -> float:
        """
        Conformal p-value of a scan: (1 + calibration scans that score as high) / (n + 1) (Vovk et al. 2005).

        Of healthy scans that are exchangeable with the calibration scans, at most a share a has a p-value <= a.

        Args:
            scores: of all brain voxels of the scan, on this scale.

        Returns:
            In [1 / (n + 1), 1]; NaN if no calibration scans' scores are kept.
        """
        if not self.n_scans:
            return math.nan
        as_high = int((self.scan_scores >= self.statistic(scores)).sum())
        return (1 + as_high) / (self.n_scans + 1)

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
    def require(self, rate: float) -> None:
        """
        Check that a healthy rate is guaranteed.

        Raises:
            CUASError: if not calibrated, the rate is none of :attr:`rates`, or the calibration scans are too few.
        """
        if not self.n_scans:
            raise CUASError(
                "These weights carry no guaranteed thresholds; run the bundle's calibrate.json on normal scans first."
            )
        same = torch.isclose(self.rates, torch.full_like(self.rates, rate), rtol=1e-6, atol=0.0)
        if not same.any():
            known = ", ".join(f"{r:g}" for r in self.rates.tolist())
            raise CUASError(f"There is no guaranteed threshold for the healthy rate {rate:g}; ask for one of {known}.")
        if rate >= float(self.max_fraction):
            raise CUASError(
                f"The healthy rate {rate:g} is not below {float(self.max_fraction):g}, the largest share of a brain "
                "that may be found, so that much would be found in every scan; ask for a lower rate or calibrate with "
                "a larger --max_fraction."
            )
        if torch.isnan(self.thresholds[same]).any() or not self.is_calibrated:
            n, bound = self.n_scans, float(self.max_fraction)
            raise CUASError(
                f"{n} normal scans cannot guarantee the healthy rate {rate:g} when up to {bound:g} of a brain may be "
                f"found; calibrate with at least {math.ceil(bound / rate - 1 - 1e-9)} normal scans, or with "
                f"--max_fraction below {min(rate * (n + 1), 1.0):.3g}."
            )

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
