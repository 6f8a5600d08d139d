# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The layouts by name, the most particular first, since that is the order in which they are tried."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from monai_cuas.utils import CUASError

from .base import ReadReport, folder_of
from .bids import detect_bids, read_bids
from .ixi import detect_ixi, read_ixi
from .mslub import detect_mslub, read_mslub
from .plain import detect_plain, read_plain

__all__ = ["LAYOUTS", "Layout", "detect_layout", "read_layout"]


class Layout(NamedTuple):
    """A reader and the test that recognises its folder."""

    read: Callable[..., ReadReport]
    detect: Callable[[Path], bool]


LAYOUTS: dict[str, Layout] = {
    "ixi": Layout(read_ixi, detect_ixi),
    "mslub": Layout(read_mslub, detect_mslub),
    "bids": Layout(read_bids, detect_bids),
    "plain": Layout(read_plain, detect_plain),
}


def detect_layout(folder: str | os.PathLike) -> str:
    """Return the name of the layout that the folder looks like.

    Raises:
        CUASError: the folder is missing or fits none.
    """
    path = folder_of(folder)
    for name, layout in LAYOUTS.items():
        if layout.detect(path):
            return name
    raise CUASError(f"{path}: the folder fits none of the layouts {', '.join(LAYOUTS)}; see docs/data.md.")


def read_layout(folder: str | os.PathLike, layout: str = "auto", **options: Any) -> ReadReport:
    """Read a folder.

    Args:
        folder: where the scans are.
        layout: a name of :data:`LAYOUTS`, or ``"auto"``.
        options: of the reader, such as ``sequences=["flair", "t1"]``.

    Returns:
        What was found (iterating gives the entries) and what was left out.

    Raises:
        CUASError: the layout is unknown, an option is not one of its reader, or the folder does not fit.
    """
    name = detect_layout(folder) if layout == "auto" else layout
    if name not in LAYOUTS:
        raise CUASError(f"Unknown layout '{name}'; choose from auto, {', '.join(LAYOUTS)}.")
    reader = LAYOUTS[name].read
    unknown = set(options) - set(inspect.signature(reader).parameters)
    if unknown:
        raise CUASError(f"The layout '{name}' has no option '{sorted(unknown)[0]}'.")
    return reader(folder, **options)
