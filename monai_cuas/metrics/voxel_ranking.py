# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How well an anomaly map ranks lesion voxels above the others, in constant memory over any number of scans."""

from __future__ import annotations

import numpy as np
from monai.metrics import Metric
from scipy.integrate import trapezoid

__all__ = ["VoxelRankingMetric", "ranking_figures"]


def ranking_figures(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    AUROC and average precision of histograms.

    Args:
        positives: lesion voxels in each bin, bins by descending score, (..., bins).
        negatives: the other voxels, of the same shape.

    Returns:
        AUROC and average precision, (...); NaN where one of the two has no voxel.
    """
    tp, fp = (np.cumsum(counts, axis=-1, dtype=float) for counts in (positives, negatives))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, fpr, precision = tp / tp[..., -1:], fp / fp[..., -1:], tp / (tp + fp)
    start = np.zeros((*recall.shape[:-1], 1))
    # a bin that a weight has emptied adds no recall, and its precision is none
    steps = np.diff(recall, axis=-1, prepend=0.0) * np.where(tp + fp > 0, precision, 0.0)
    auroc = trapezoid(np.concatenate([start, recall], -1), np.concatenate([start, fpr], -1), axis=-1)
    return auroc, np.where(fp[..., -1] > 0, steps.sum(axis=-1), np.nan)


def _ordered_bins(values: np.ndarray, n_bits: int) -> np.ndarray:
    """Map float32 to bin numbers of the same order: the sign, the exponent and the leading bits of the mantissa.

    Bit patterns of positive floats are ordered as integers; those of negative ones in reverse. So no range must be
    known before, and the resolution is relative: 2^-11 with 20 bits.
    """
    # adding 0.0 turns -0.0 into 0.0, which must tie
    bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0.0)).view(np.uint32)
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))
    return (ordered >> np.uint32(32 - n_bits)).astype(np.int64)


def _bin_values(bins: np.ndarray, n_bits: int) -> np.ndarray:
    """Smallest float32 in each bin; the inverse of ``_ordered_bins``."""
    ordered = (bins.astype(np.uint64) << np.uint64(32 - n_bits)).astype(np.uint32)
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

    Args:
        bits: of a score that tell bins apart, from 10 to 32; 16 have a relative width of 2^-7.
    """

    def __init__(self, bits: int = 20) -> None:
        super().__init__()
        self.bits = bits
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
        found, position = np.unique(_ordered_bins(scores.ravel(), self.bits), return_inverse=True)
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
            "threshold": _bin_values(self.bins[::-1], self.bits),
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
        dice = 2 * tp / (tp + fp + n_pos)
        best = int(np.argmax(dice))
        auroc, auprc = ranking_figures(self.positives[::-1], self.negatives[::-1])
        values = (
            auroc,
            auprc,
            dice[best],
            dice[best] / (2 - dice[best]),
            curve["threshold"][best],
            n_pos / (n_pos + n_neg),
        )
        return {name: float(value) for name, value in zip(names, values)}
