# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One scan counts once: halves of a pair of files, and copies under another name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from ..io.nifti.reader import NIFTI_SUFFIXES, read_nifti
from ..utils import CUASError, scan_stem

__all__ = ["is_half", "same_scan"]

logger = logging.getLogger(__name__)

_HEADERS, _IMAGES = (".hdr", ".hdr.gz"), (".img", ".img.gz")


def is_half(path: Path, names: set[str]) -> bool:
    """
    The .img of a .hdr and .img pair, or either of them alone, which is said.

    Args:
        path: the file.
        names: paths of all files there are.
    """
    name = str(path)
    if not name.lower().endswith((*_HEADERS, *_IMAGES)):
        return False
    of_header = name.lower().endswith(_HEADERS)
    stem = scan_stem(name)
    other = any(
        n.lower() == (stem + s).lower()
        for n in names
        for s in (_IMAGES if of_header else _HEADERS)
        if n[: len(stem)] == stem
    )
    if not other:
        logger.warning("%s: passed over, as it is one half of a pair (.hdr and .img).", path)
    return not (of_header and other)


def same_scan(path: Path, other: Path) -> bool:
    """Whether two files hold one scan: one file under two names, or the same voxels on the same grid."""
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    if scan_stem(str(path)) != scan_stem(str(other)) or not all(
        str(p).lower().endswith(NIFTI_SUFFIXES) for p in (path, other)
    ):
        return False
    try:
        first, second = read_nifti(path), read_nifti(other)
    except (OSError, CUASError):
        # Which is damaged is said when it is read.
        return False
    return np.array_equal(first.array, second.array) and np.allclose(first.affine, second.affine, atol=1e-4)
