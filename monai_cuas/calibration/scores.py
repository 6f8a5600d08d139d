# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a scale's thresholds mean to its user: which rates they support, the scan's rank, and what to do otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..metrics import top_fraction_mean
from ..networks.layers import MAX_SCANS, GuaranteedCalibration, ScoreScale
from ..utils import CUASError

__all__ = ["keep_scan_scores", "p_value", "raw_values", "require_rate", "scan_statistic", "threshold_at"]


def require_rate(scale: ScoreScale, rate: float) -> None:
    """
    Check that a healthy rate can be asked for.

    Raises:
        CUASError: if not calibrated, or the calibration scans do not support the rate.
    """
    if isinstance(scale, GuaranteedCalibration):
        _require_guaranteed(scale, rate)
        return
    if not scale.is_calibrated:
        raise CUASError(
            "These weights carry no calibration, so no threshold is known; run the bundle's calibrate.json on "
            "normal scans first."
        )
    known = scale.rates[~torch.isnan(scale.thresholds)]
    low, high = float(known.min()), float(known.max())
    if not low * (1 - 1e-9) <= rate <= high * (1 + 1e-9):
        raise CUASError(
            f"The healthy rate {rate:g} is not supported by the calibration, which knows {low:g} to {high:g}; "
            "ask for one of these or calibrate with more normal scans."
        )


def _require_guaranteed(scale: GuaranteedCalibration, rate: float) -> None:
    """
    Check that a healthy rate is guaranteed.

    Raises:
        CUASError: if not calibrated, the rate is none of :attr:`rates`, or the calibration scans are too few.
    """
    if not scale.n_scans:
        raise CUASError(
            "These weights carry no guaranteed thresholds; run the bundle's calibrate.json on normal scans first."
        )
    same = torch.isclose(scale.rates, torch.full_like(scale.rates, rate), rtol=1e-6, atol=0.0)
    if not same.any():
        known = ", ".join(f"{r:g}" for r in scale.rates.tolist())
        raise CUASError(f"There is no guaranteed threshold for the healthy rate {rate:g}; ask for one of {known}.")
    if rate >= float(scale.max_fraction):
        raise CUASError(
            f"The healthy rate {rate:g} is not below {float(scale.max_fraction):g}, the largest share of a brain "
            "that may be found, so that much would be found in every scan; ask for a lower rate or calibrate with "
            "a larger --max_fraction."
        )
    if torch.isnan(scale.thresholds[same]).any() or not scale.is_calibrated:
        n, bound = scale.n_scans, float(scale.max_fraction)
        raise CUASError(
            f"{n} normal scans cannot guarantee the healthy rate {rate:g} when up to {bound:g} of a brain may be "
            f"found; calibrate with at least {math.ceil(bound / rate - 1 - 1e-9)} normal scans, or with "
            f"--max_fraction below {min(rate * (n + 1), 1.0):.3g}."
        )


def threshold_at(scale: ScoreScale, rate: float) -> float:
    """
    Raw map value that healthy voxels exceed at ``rate``, linear in the logarithm of the rate between known ones.

    Raises:
        CUASError: if not calibrated, or the rate lies beyond the smallest or largest known one.
    """
    require_rate(scale, rate)
    known = ~torch.isnan(scale.thresholds)
    x, y = -scale.rates[known].log10(), scale.thresholds[known]
    score = -math.log10(rate)
    k = min(int((x <= score).sum()) - 1, len(x) - 2)
    return float(y[k] + (y[k + 1] - y[k]) * (score - x[k]) / (x[k + 1] - x[k]))


def raw_values(scale: ScoreScale, scores: np.ndarray) -> np.ndarray:
    """Raw map values of scores, any shape; linear beyond the known rates; ``scores`` itself if not calibrated."""
    if not scale.is_calibrated:
        return scores
    known = ~torch.isnan(scale.thresholds)
    x, y = (v[known].cpu().numpy() for v in (scale.thresholds, -scale.rates.log10()))
    # as in forward(): an outermost pair of equal thresholds takes the slope of the whole range
    whole = (x[-1] - x[0]) / (y[-1] - y[0])
    first, last = (b - a if b > a else whole * (v - u) for a, b, u, v in ((*x[:2], *y[:2]), (*x[-2:], *y[-2:])))
    above = np.maximum(scores - y[-1], 0.0) * last / (y[-1] - y[-2])
    below = np.minimum(scores - y[0], 0.0) * first / (y[1] - y[0])
    return np.interp(scores, y, x) + above + below


def scan_statistic(scale: ScoreScale, scores: np.ndarray) -> float:
    """
    What scans are ranked by: the mean of the highest 0.1% of the raw map, which knows nothing of the thresholds.

    The score itself will not do: it was fitted on the calibration scans, so they would not be exchangeable with a
    further one.

    Args:
        scores: of all brain voxels of a scan, on this scale.
    """
    return top_fraction_mean(raw_values(scale, np.asarray(scores, dtype=np.float64)))


def keep_scan_scores(scale: ScoreScale, values: Sequence[float]) -> None:
    """
    Keep the calibration scans' :func:`scan_statistic`, of the first 1024 of them if there are more.

    Args:
        values: one number for each scan.
    """
    kept = torch.as_tensor(list(values)[:MAX_SCANS], dtype=torch.float64)
    scale.scan_scores.fill_(float("nan"))
    scale.scan_scores[: len(kept)] = kept.to(scale.scan_scores.device)


def p_value(scale: ScoreScale, scores: np.ndarray) -> float:
    """
    Conformal p-value of a scan: (1 + calibration scans that score as high) / (n + 1) (Vovk et al. 2005).

    Of healthy scans that are exchangeable with the calibration scans, at most a share a has a p-value <= a.

    Args:
        scores: of all brain voxels of the scan, on this scale.

    Returns:
        In [1 / (n + 1), 1]; NaN if no calibration scans' scores are kept.
    """
    if not scale.n_scans:
        return math.nan
    as_high = int((scale.scan_scores >= scan_statistic(scale, scores)).sum())
    return (1 + as_high) / (scale.n_scans + 1)
