# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which lesions a mask finds, and which of its parts are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array

__all__ = ["SIZE_BINS", "LesionMatch", "equivalent_diameter", "label_components", "match_lesions", "size_bin"]

SIZE_BINS = ("<5 mm", "5-10 mm", "10-20 mm", ">=20 mm")
"""Size groups of lesions, by equivalent diameter."""

_LIMITS = (5.0, 10.0, 20.0)
_IOU = 0.5


def size_bin(size_mm: float) -> str:
    """Return the size group of a lesion, by its equivalent diameter in mm."""
    return SIZE_BINS[int(np.searchsorted(_LIMITS, size_mm, side="right"))]


def equivalent_diameter(volume_ml: float) -> float:
    """Return the diameter in mm of a ball of a volume."""
    return float(np.cbrt(6000 * volume_ml / np.pi))


def label_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """
    Tell the connected parts of a mask apart; voxels that share a face, an edge or a corner are connected.

    Args:
        mask: boolean, any number of dimensions.

    Returns:
        The parts' numbers from 1, 0 elsewhere, and how many there are.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    return labels, int(count)


@dataclass(frozen=True)
class LesionMatch:
    """
    The lesions of a scan against the parts of a mask.

    Args:
        volume_ml: of each lesion that counts, as it was drawn.
        found: whether the mask touches it.
        dice: of each lesion and all parts that touch it, taken together; 0 where none does.
        false_positives: parts that touch no lesion.
        components: parts of the mask that count.
        matched_iou: IoU of each pair of a lesion and a part where it is above 0.5, one at most for each of them.
        outside: lesions that do not count, as no voxel of theirs does.
    """

    volume_ml: Sequence[float]
    found: Sequence[bool]
    dice: Sequence[float]
    false_positives: int
    components: int
    matched_iou: Sequence[float]
    outside: int


def match_lesions(
    found: np.ndarray,
    truth: np.ndarray,
    brain: np.ndarray,
    ignored: np.ndarray | None = None,
    voxel_ml: float = 0.001,
) -> LesionMatch:
    """
    Match the connected parts of a mask with those of the truth.

    A lesion is a connected part of the truth as drawn, in the brain or not, so that an edge of the brain mask splits
    none; what is compared are its voxels that count. Lesions that touch one another are one. A part of the mask that
    touches ignored voxels and no lesion counts nowhere.

    The matching is one table of how many voxels each lesion shares with each part. ``PanopticQualityMetric`` of MONAI
    gives the same panoptic quality, but holds a volume for each part, and a mask may have thousands; so does panoptica
    (with ``strict_threshold``), whose versions so far ask for older numpy and pandas than others here bring.

    Args:
        found: mask, (X, Y, Z) boolean.
        truth: lesion voxels, (X, Y, Z) boolean.
        brain: voxels that count, or are ignored, (X, Y, Z) boolean.
        ignored: voxels that are neither lesion nor healthy, (X, Y, Z) boolean; None: there are none.
        voxel_ml: volume of a voxel.

    Returns:
        The match.
    """
    counted = brain if ignored is None else brain & ~ignored
    lesions, n_lesions = label_components(truth if ignored is None else truth & ~ignored)
    drawn = np.bincount(lesions.ravel(), minlength=n_lesions + 1)[1:]
    parts, n_parts = label_components(found & brain)
    excused = np.zeros(n_parts + 1, dtype=bool)
    if ignored is not None:
        excused[np.unique(parts[ignored])] = True
    where = counted & ((lesions > 0) | (parts > 0))
    pairs = (lesions[where], parts[where])
    table = csr_array((np.ones(len(pairs[0])), pairs), shape=(n_lesions + 1, n_parts + 1))
    lesion_size, part_size = (np.asarray(table.sum(axis=axis)).ravel() for axis in (1, 0))
    # the background's own row and column leave; what is left is kept pair by pair
    shared = table.tocoo()
    keep = (shared.row > 0) & (shared.col > 0)
    row, column, overlap = shared.row[keep], shared.col[keep], shared.data[keep]
    touched = np.bincount(row, overlap, n_lesions + 1)
    joined = np.bincount(row, part_size[column], n_lesions + 1)
    inside = lesion_size > 0
    inside[0] = False
    real = np.zeros(n_parts + 1, dtype=bool)
    real[column] = True
    # a part whose every voxel is ignored has no size
    counts = (part_size > 0) & (real | ~excused)
    counts[0] = False
    iou = overlap / (lesion_size[row] + part_size[column] - overlap)
    dice = 2 * touched[inside] / (lesion_size + joined)[inside]
    return LesionMatch(
        volume_ml=[float(size * voxel_ml) for size in drawn[inside[1:]]],
        found=[bool(t > 0) for t in touched[inside]],
        dice=[float(value) for value in dice],
        false_positives=int((counts & ~real).sum()),
        components=int(counts.sum()),
        matched_iou=[float(value) for value in iou[iou > _IOU]],
        outside=int(n_lesions - inside.sum()),
    )
