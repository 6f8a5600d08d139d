# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scores of whole scans and slices, and how well they tell healthy from not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_roc_auc

__all__ = ["detection_auroc", "slice_scores", "spread", "top_fraction_mean"]


def top_fraction_mean(scores: np.ndarray, fraction: float = 0.001) -> float:
    """
    Mean of the highest scores, the score of a scan or slice: less noisy than the maximum, blind to its size.

    Args:
        scores: anomaly scores of the brain voxels, any shape.
        fraction: share of the voxels that count, at least one voxel.

    Returns:
        The mean, NaN without voxels.
    """
    flat = np.asarray(scores, dtype=np.float64).ravel()
    if not flat.size:
        return float("nan")
    count = max(1, round(fraction * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean())


def spread(scores: np.ndarray) -> float:
    """
    Standard deviation of a map, the score of a slice in the code of Silva-Rodriguez et al.

    Args:
        scores: of the brain voxels, any shape.

    Returns:
        The standard deviation, NaN without voxels.
    """
    return float(np.std(scores, dtype=np.float64)) if np.size(scores) else float("nan")


def slice_scores(
    anomaly: np.ndarray,
    brain: np.ndarray,
    axis: int,
    min_area: float = 0.1,
    fraction: float = 0.01,
    score: Callable[[np.ndarray], float] | None = None,
) -> dict[int, float]:
    """
    Score each slice along ``axis`` that shows enough brain.

    Args:
        anomaly: anomaly map, (X, Y, Z).
        brain: brain mask of the same shape.
        axis: slice axis.
        min_area: brain area of a slice that counts, as a fraction of the largest slice's.
        fraction: as in :func:`top_fraction_mean`.
        score: another one in its place, such as :func:`spread`.

    Returns:
        Score by slice index.
    """
    anomaly, brain = np.moveaxis(anomaly, axis, 0), np.moveaxis(brain, axis, 0).astype(bool)
    area = brain.reshape(len(brain), -1).sum(axis=1)
    enough = np.flatnonzero(area >= max(1.0, min_area * area.max(initial=0)))
    found = [anomaly[k][brain[k]] for k in enough]
    return {int(k): score(v) if score else top_fraction_mean(v, fraction) for k, v in zip(enough, found)}


def detection_auroc(scores: Sequence[float], diseased: Sequence[bool]) -> float:
    """
    AUROC of scores of scans or slices, by MONAI's ``compute_roc_auc``.

    Args:
        scores: one number each.
        diseased: whether there is a lesion.

    Returns:
        The AUROC, NaN if only one class is present.
    """
    if len(set(map(bool, diseased))) < 2:
        return float("nan")
    auroc: Any = compute_roc_auc(torch.as_tensor(list(scores)), torch.as_tensor([int(d) for d in diseased]))
    return float(auroc)
