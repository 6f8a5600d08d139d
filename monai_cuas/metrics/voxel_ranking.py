# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How well an anomaly map ranks lesion voxels above the others, in constant memory over any number of scans."""

from __future__ import annotations

import numpy as np
from monai.metrics import Metric
from scipy.integrate import trapezoid

__all__ = ["VoxelRankingMetric"]

_BITS = 20


def _ordered_bins(values: np.ndarray) -> np.ndarray:
    """Map float32 to bin numbers of the same order: the sign, the exponent and the leading bits of the mantissa.

    Bit patterns of positive floats are ordered as integers; those of negative ones in reverse. So no range must be
    known before, and the resolution is relative: 2^-11 with 20 bits.
    """
    # adding 0.0 turns -0.0 into 0.0, which must tie
    bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0.0)).view(np.uint32)
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))
    return (ordered >> np.uint32(32 - _BITS)).astype(np.int64)


def _bin_values(bins: np.ndarray) -> np.ndarray:
    """Smallest float32 in each bin; the inverse of ``_ordered_bins``."""
    ordered = (bins.astype(np.uint64) << np.uint64(32 - _BITS)).astype(np.uint32)
    bits = np.where(ordered >> 31 == 1, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


class VoxelRankingMetric(Metric):
    """
    AUROC, average precision (AUPRC) and the oracle's best Dice and IoU, over voxels pooled from all scans.

    The scores go into a histogram of at most 2^20 bins per class, of which only the occupied ones are kept; within a
    bin (relative width 2^-11) scores count as tied.
    Ties are handled as scikit-learn does: one point of the curve for each distinct value. The oracle figures choose
    their threshold on the very scans they are computed on, so they bound what a threshold could reach and are nothing
    a user would get.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget all voxels."""
        self.bins = np.zeros(0, dtype=np.int64)
        self.positives = np.zeros(0, dtype=np.int64)
        self.negatives = np.zeros(0, dtype=np.int64)

    def __call__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """
        Add voxels.

        Args:
            scores: any shape, finite numbers, high for lesion.
            labels: same shape, True for lesion.

        Raises:
            ValueError: if the shapes differ or a score is NaN.
        """
        scores, labels = np.asarray(scores), np.asarray(labels, dtype=bool)
        if scores.shape != labels.shape:
            raise ValueError(f"scores and labels must have the same shape, got {scores.shape} and {labels.shape}.")
        if np.isnan(scores).any():
            raise ValueError("scores must not be NaN.")
        found, position = np.unique(_ordered_bins(scores.ravel()), return_inverse=True)
        positive = np.bincount(position.ravel()[labels.ravel()], minlength=len(found))
        total = np.bincount(position.ravel(), minlength=len(found))
        self._merge(found, positive, total - positive)

    def _merge(self, bins: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> None:
        union = np.union1d(self.bins, bins)
        old, new = np.searchsorted(union, self.bins), np.searchsorted(union, bins)
        sums = np.zeros((2, len(union)), dtype=np.int64)
        sums[:, old] += np.stack([self.positives, self.negatives])
        sums[:, new] += np.stack([positives, negatives])
        self.bins, self.positives, self.negatives = union, sums[0], sums[1]

    def curve(self) -> dict[str, np.ndarray]:
        """
        Return ``threshold`` (descending), ``tp`` and ``fp``: counts of voxels at or above each threshold.
        """
        return {
            "threshold": _bin_values(self.bins[::-1]),
            "tp": np.cumsum(self.positives[::-1]),
            "fp": np.cumsum(self.negatives[::-1]),
        }

    def aggregate(self) -> dict[str, float]:
        """
        Compute the figures from the histogram.

        Returns:
            ``auroc``, ``auprc``, ``oracle_dice``, ``oracle_iou``, ``oracle_threshold``, ``prevalence``; NaN where there
            is no lesion voxel or no other voxel.
        """
        n_pos, n_neg = int(self.positives.sum()), int(self.negatives.sum())
        names = ("auroc", "auprc", "oracle_dice", "oracle_iou", "oracle_threshold", "prevalence")
        if not n_pos or not n_neg:
            return dict.fromkeys(names, float("nan"))
        curve = self.curve()
        tp, fp = curve["tp"].astype(float), curve["fp"].astype(float)
        recall, precision = tp / n_pos, tp / (tp + fp)
        dice = 2 * tp / (tp + fp + n_pos)
        best = int(np.argmax(dice))
        auroc = trapezoid(np.append(0.0, recall), np.append(0.0, fp / n_neg))
        values = (
            auroc,
            np.sum(np.diff(recall, prepend=0.0) * precision),
            dice[best],
            dice[best] / (2 - dice[best]),
            curve["threshold"][best],
            n_pos / (n_pos + n_neg),
        )
        return {name: float(value) for name, value in zip(names, values)}
