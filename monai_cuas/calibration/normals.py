# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The normal scans that a threshold is set on."""

from __future__ import annotations

import os
from typing import Any

from ..data.datalist import load_datalist
from ..data.layouts import read_layout
from ..data.scans import scan_datalist
from ..utils import CUASError

__all__ = ["calibration_scans"]


def calibration_scans(
    dataset_dir: str | os.PathLike = "", normals: str | os.PathLike | None = None
) -> list[dict[str, Any]]:
    """
    List the calibration scans: those of a data list, or all of a folder.

    Args:
        dataset_dir: folder of ``dataset.json``; its "calibration" list is taken.
        normals: folder of normal scans that took no part in training, in place of a data list. Nothing tells whose they
            are, so each counts as a subject of its own.

    Raises:
        CUASError: if there is no such list or folder, no scan in it, or a mask with lesion voxels beside one.
    """
    if normals:
        scans = scan_datalist(normals)
        if os.path.isdir(normals):
            _require_normal(normals)
        return scans
    return load_datalist(os.path.join(dataset_dir, "dataset.json"), "calibration")


def _require_normal(folder: str | os.PathLike) -> None:
    """Refuse a folder in which a mask tells that a scan has a lesion."""
    report = read_layout(folder, "plain")
    masks = [entry.label or entry.images[0] for entry in report if entry.role == "lesion"] + report.unpaired
    if masks:
        raise CUASError(
            f"{masks[0]}: a mask with lesion voxels or a scan that has one ({len(masks)} in this folder), and "
            "thresholds are set on normal scans; take these scans and their masks out of the folder."
        )
