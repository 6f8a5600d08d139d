# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Thresholds with a guaranteed rate: conformal risk control.

Angelopoulos, Bates, Fisch, Lei, Schuster: Conformal risk control, arXiv 2208.02814 (2022). A subject counts as one
observation, however many scans of it there are and however many voxels they have: these are alike. Of a subject with
several scans the loss is their mean, which is what a scan drawn from a further subject has in expectation (as in Lee,
Barber, Willett: Distribution-free inference with hierarchical data, arXiv 2306.06342, 2023).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..utils import CUASError

__all__ = ["ExceedanceCurve", "guaranteed_threshold", "require_fraction"]


def _ranks(n: int, exact: int = 1000, ratio: float = 1.002) -> np.ndarray:
    """Ranks 0 to ``exact`` and from there on geometrically to n, so that a share is overstated by 0.2% at most."""
    if n <= exact:
        return np.arange(n + 1)
    steps = math.ceil(math.log(n / exact) / math.log(ratio))
    beyond = np.floor(exact * ratio ** np.arange(1, steps)).astype(np.int64)
    return np.unique(np.concatenate([np.arange(exact + 1), beyond[beyond < n], [n]]))


@dataclass(frozen=True)
class ExceedanceCurve:
    """
    Share of a scan's brain voxels that reach a threshold, as a function of it, in a few thousand numbers.

    The share is never understated, so that what is guaranteed of it holds for the scan.

    Args:
        knots: (K,) map values, ascending.
        shares: (K + 1,) share of the voxels above all, ..., above none of the knots, descending from 1 to 0.
    """

    knots: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> ExceedanceCurve:
        """Curve of the map values of all brain voxels of a scan, any shape, at least one."""
        ordered = np.sort(np.asarray(values, dtype=np.float32).ravel())
        ranks = _ranks(len(ordered))
        # above the (r + 1)-th highest value lie at most r; the last rank, all of them, has no such value
        return cls(ordered[len(ordered) - 1 - ranks[:-1]][::-1], (ranks / len(ordered))[::-1])

    def __call__(self, thresholds: np.ndarray | float) -> np.ndarray:
        """Share of the voxels that are >= each of the thresholds, or up to 0.2% of it more."""
        return self.shares[np.searchsorted(self.knots, thresholds, side="left")]


def require_fraction(max_fraction: float | None) -> float:
    """
    Return the bound of the found share of a brain; None is 1, no bound.

    Raises:
        CUASError: unless it lies in (0, 1].
    """
    bound = 1.0 if max_fraction is None else float(max_fraction)
    if not 0 < bound <= 1:
        raise CUASError(f"max_fraction is the largest share of a brain that may be found, in (0, 1]; got {bound:g}.")
    return bound


def guaranteed_threshold(
    curves: Sequence[ExceedanceCurve], rate: float, max_fraction: float = 1.0, subjects: Sequence[str] | None = None
) -> float:
    """
    Smallest threshold at which a scan of a further subject has a found share of at most ``rate`` in expectation.

    With the loss L_i(t), the mean over subject i's scans of the share of the brain that reaches t, at most
    B = ``max_fraction``: the smallest t with n / (n + 1) * mean(L_i(t)) + B / (n + 1) <= rate. The expectation is over
    calibration subjects and further subject, which are exchangeable.

    Args:
        curves: one for each calibration scan.
        rate: in (0, 1).
        max_fraction: largest share of a brain that can be found, in (0, 1]; enforced by ``scan_threshold`` of
            :class:`monai_cuas.networks.layers.GuaranteedCalibration`.
        subjects: whose scan each is; None: each is of another subject.

    Returns:
        The threshold; NaN if so few subjects cannot support the rate.
    """
    owners = list(range(len(curves))) if subjects is None else list(subjects)
    scans_of = Counter(owners)
    n = len(scans_of)
    allowed = (n + 1) * rate - max_fraction
    if allowed < -1e-9 or not n:
        return math.nan
    allowed = max(allowed, 0.0)

    def total(threshold: float) -> float:
        shares = (min(float(curve(threshold)), max_fraction) / scans_of[who] for curve, who in zip(curves, owners))
        return float(sum(shares))

    candidates = np.unique(np.concatenate([curve.knots for curve in curves]))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if total(candidates[middle]) <= allowed else (middle + 1, high)
    if low < len(candidates):
        return float(candidates[low])
    # nothing of any calibration scan may be found: a little above the highest value
    return float(candidates[-1] + 1e-5 * max(abs(float(candidates[-1])), 1e-3))
