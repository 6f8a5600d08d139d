# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The normal scans that a threshold is set on."""

from __future__ import annotations

import os
from typing import Any

from ..data.datalist import load_datalist
from ..data.scans import scan_datalist

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
        CUASError: if there is no such list or folder, or no scan in it.
    """
    if normals:
        return scan_datalist(normals)
    return load_datalist(os.path.join(dataset_dir, "dataset.json"), "calibration")
