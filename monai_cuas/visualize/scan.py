# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The intensities that a picture of a scan shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..io.dicom import IRREGULARITIES
from ..transforms.io import LoadScand
from ..utils import CUASError

__all__ = ["first_item", "read_display_scan"]


def first_item(value: Any) -> Any:
    """Return what lies innermost and first in nested lists, as a loader's collation leaves them."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value


def read_display_scan(item: Mapping[str, Any], instead: np.ndarray, image_key: str = "image") -> np.ndarray:
    """
    Read a scan again for a picture: what an engine holds of it is standardised and cropped.

    Args:
        item: a preprocessed scan, whose image's metadata name its file; with "image_channels" of a file of several
            channels, the first of them is shown.
        instead: (X, Y, Z) on the scan's grid, shown if the scan cannot be read.
        image_key: where the image is.

    Returns:
        (X, Y, Z) float32 without NaN.
    """
    file = str(first_item(getattr(item.get(image_key), "meta", {}).get("filename_or_obj", "")) or item.get("file", ""))
    channels = item.get(f"{image_key}_channels")
    entry = {"image": file, "image_channels": None if channels is None else [int(k) for k in channels]}
    try:
        scan = LoadScand("image", dicom_accept=IRREGULARITIES)(entry)["image"] if file else instead[None]
    except CUASError:
        return instead
    scan = np.asarray(scan, dtype=np.float32)[0]
    return np.nan_to_num(scan) if scan.shape == instead.shape else instead
