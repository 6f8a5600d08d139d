# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How sure a figure is, over patients: bootstrap intervals and the paired test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import bootstrap, wilcoxon

__all__ = ["FEWEST", "mean_interval", "paired_test", "patient_interval"]

FEWEST = 3
"""Of fewer patients there is no interval and no test."""

_BATCH = 500


def patient_interval(
    statistic: Callable[[np.ndarray], np.ndarray], n_patients: int, n_resamples: int = 2000, confidence: float = 0.95
) -> tuple[float, float]:
    """
    Interval of a figure by drawing patients with replacement, each with all that is of him; SciPy's ``bootstrap``, BCa.

    Where BCa has none, as where a draw has no patient of a kind that the figure asks for, the quantiles of the draws
    that have a figure.

    Args:
        statistic: from how often each patient was drawn, (draws, patients), to the figure of each draw, (draws,); NaN
            where there is none.
        n_patients: patients that the figure is of.
        n_resamples: draws.
        confidence: of the interval.

    Returns:
        Its ends; NaN for fewer than three patients. The same numbers for the same data.
    """
    if n_patients < FEWEST:
        return math.nan, math.nan

    def of_drawn(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        flat = np.reshape(drawn, (-1, drawn.shape[-1]))
        own = flat + n_patients * np.arange(len(flat))[:, None]
        times = np.bincount(own.ravel(), minlength=len(flat) * n_patients).reshape(len(flat), n_patients)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.reshape(statistic(times), drawn.shape[:-1])

    with warnings.catch_warnings():
        # SciPy warns where BCa has no interval, which is seen below
        warnings.simplefilter("ignore")
        found = bootstrap(
            (np.arange(n_patients),),
            of_drawn,
            n_resamples=n_resamples,
            batch=_BATCH,
            vectorized=True,
            confidence_level=confidence,
            random_state=0,
        )
    low, high = map(float, found.confidence_interval)
    known = found.bootstrap_distribution[np.isfinite(found.bootstrap_distribution)]
    if math.isfinite(low) and math.isfinite(high) or not len(known):
        return low, high
    return tuple(map(float, np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])))  # type: ignore[return-value]


def mean_interval(values: Sequence[float] | np.ndarray, n_resamples: int = 9999) -> tuple[float, float, float]:
    """
    Mean over patients and its 95% interval.

    Args:
        values: one of each patient; those that are not finite are left out.
        n_resamples: draws of the bootstrap.

    Returns:
        Mean, lower and upper end; NaN for what there is none of.
    """
    known = np.asarray([v for v in values if v is not None and math.isfinite(v)], dtype=float)
    if not len(known):
        return math.nan, math.nan, math.nan
    low, high = patient_interval(lambda times: times @ known / times.sum(axis=-1), len(known), n_resamples)
    return float(known.mean()), low, high


def paired_test(first: Sequence[float | None], other: Sequence[float | None]) -> dict[str, Any]:
    """
    Whether one method is better than another, over the patients that both have a figure of.

    Args:
        first: figure of each patient, None or NaN where there is none.
        other: the other method's, of the same patients in the same order.

    Returns:
        ``n_patients``, the mean ``difference`` (first less other) with the ends ``low`` and ``high`` of its 95%
        bootstrap interval, and ``p`` of the two-sided Wilcoxon signed-rank test. NaN for fewer than three patients,
        where a p-value would say nothing; without any difference p is 1.

    Raises:
        ValueError: if the two are not of the same number of patients.
    """
    if len(first) != len(other):
        raise ValueError(f"figures of {len(first)} and of {len(other)} patients cannot be paired.")
    pairs = np.array([(a, b) for a, b in zip(first, other) if a is not None and b is not None], dtype=float)
    pairs = pairs.reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    difference, low, high = mean_interval(pairs[:, 0] - pairs[:, 1])
    p = math.nan
    if len(pairs) >= FEWEST:
        differ = bool((pairs[:, 0] != pairs[:, 1]).any())
        p = float(wilcoxon(pairs[:, 0], pairs[:, 1]).pvalue) if differ else 1.0
    return {"n_patients": len(pairs), "difference": difference, "low": low, "high": high, "p": p}
