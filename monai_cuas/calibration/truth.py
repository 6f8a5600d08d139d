# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What is known of a test scan: a mask of its lesions, labels of its slices, or only that it has a lesion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor

from ..io.orientation import axial_axis
from ..transforms.io import LoadScand
from ..transforms.io.content import MIN_VALUES, content_of, count_values
from ..utils import ScanError

__all__ = ["ScanTruth", "lesion_free", "read_truth"]


@dataclass(frozen=True)
class ScanTruth:
    """
    The truth of one scan, on its own grid.

    Args:
        diseased: whether the scan shows a lesion.
        voxels: lesion voxels, (X, Y, Z) boolean; None for a diseased scan whose lesions nobody outlined.
        ignored: voxels that are neither lesion nor healthy, (X, Y, Z) boolean; None: there are none.
        slices: whether each axial slice shows a lesion, where that was read apart from the voxels.
    """

    diseased: bool
    voxels: np.ndarray | None
    ignored: np.ndarray | None = None
    slices: tuple[bool, ...] | None = None

    def counted(self, brain: np.ndarray) -> np.ndarray:
        """Voxels of the brain that count in any figure."""
        return brain.astype(bool) if self.ignored is None else brain.astype(bool) & ~self.ignored

    def sick_slices(self, inside: np.ndarray, axis: int) -> np.ndarray | None:
        """
        Tell of each slice along ``axis`` whether it shows a lesion.

        Args:
            inside: voxels that count, (X, Y, Z) boolean; a lesion outside of them does not make a slice a sick one.
            axis: slice axis.

        Returns:
            (slices,) boolean, or None if nobody knows.
        """
        if self.slices is not None:
            return np.asarray(self.slices)
        if self.voxels is None:
            return None
        return np.moveaxis(self.voxels & inside, axis, 0).any(axis=(1, 2))


def _read_label(file: str, grid: MetaTensor) -> np.ndarray:
    label = LoadScand("label")({"label": file})["label"]
    # half a voxel at the far corner would move every lesion by half a voxel
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in label.shape[1:]), 1]]).T
    ours, theirs = np.asarray(label.affine), np.asarray(grid.affine)
    step = np.linalg.norm(ours[:3, :3], axis=0).min()
    if label.shape[1:] != grid.shape[1:] or not np.allclose(ours @ corners, theirs @ corners, atol=0.5 * step):
        raise ScanError(file, "the label is not on the grid of its scan", "resample it to the scan")
    values = np.asarray(label).max(axis=0)
    if count_values(values.ravel()) >= MIN_VALUES and not content_of(values, None, ours).kind:
        raise ScanError(file, "the label's voxels are those of a scan and no mask", "correct the data list")
    return values


def lesion_free(entry: Mapping[str, Any], brain_mask: MetaTensor) -> np.ndarray:
    """
    Brain of a scan that is to be learnt from as a normal one; of one with lesions, the slices that show none.

    Args:
        entry: as in :func:`read_truth`.
        brain_mask: on the scan's own grid, (1, X, Y, Z).

    Returns:
        (X, Y, Z) boolean.

    Raises:
        ScanError: as :func:`read_truth`, and if nobody knows which slices show the lesion.
    """
    if not {"label", "slice_labels", "scan_label"} & set(entry):
        return np.asarray(brain_mask[0]) > 0
    axis = axial_axis(brain_mask.affine)
    truth = read_truth(entry, brain_mask, axis)
    inside = truth.counted(np.asarray(brain_mask[0]) > 0)
    sick = truth.sick_slices(np.ones_like(inside), axis)
    if sick is None:
        problem = "it has a lesion, and no mask tells which slices are free of it"
        raise ScanError(str(entry.get("image")), problem, "take it off the list of normal scans")
    np.moveaxis(inside, axis, 0)[sick] = False
    if not inside.any():
        raise ScanError(str(entry.get("image")), "every slice shows a lesion", "take it off the list of normal scans")
    return inside


def read_truth(entry: Mapping[str, Any], grid: MetaTensor, axis: int) -> ScanTruth:
    """
    Read what a data list entry tells of its scan.

    A scan counts as diseased if a slice label is 1, else if its label holds a lesion voxel, else if "scan_label" is 1.
    So a scan with an empty label is a normal one, and one with neither label nor any other word is too.

    Args:
        entry: optionally with "label", a mask (values above 0 are lesion), "ignore_label", its value for what is
            neither lesion nor healthy, "slice_labels", 0 or 1 for each axial slice in the file's order, and
            "scan_label", 0 or 1.
        grid: any image on the scan's own grid, such as its brain mask, (1, X, Y, Z).
        axis: axial axis of the scan's grid.

    Raises:
        ScanError: the label is missing, broken or on another grid, or there are not as many slice labels as slices.
    """
    voxels = ignored = slices = None
    shape = tuple(grid.shape[1:])
    if entry.get("label") is not None:
        label = _read_label(entry["label"], grid)
        voxels = label > 0
        if entry.get("ignore_label") is not None:
            ignored = label == entry["ignore_label"]
            voxels &= ~ignored
    if entry.get("slice_labels") is not None:
        slices = tuple(bool(value) for value in entry["slice_labels"])
        if len(slices) != shape[axis]:
            problem = f"{len(slices)} slice labels for {shape[axis]} axial slices"
            raise ScanError(str(entry.get("image")), problem, "correct the data list")
    if slices is not None:
        diseased = any(slices)
    elif voxels is not None:
        diseased = bool(voxels.any())
    else:
        diseased = bool(entry.get("scan_label", 0))
    if voxels is None and not diseased:
        voxels = np.zeros(shape, dtype=bool)
    elif diseased and voxels is not None and not voxels.any():
        voxels = None  # a mask without the lesion that the slices show tells nothing
    return ScanTruth(diseased, voxels, ignored, slices)
