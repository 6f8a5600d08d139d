# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Every file that a scan's voxels come from, and what is in them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from ..utils import CUASError, brain_mask_beside, file_digest
from .dicom.index import get_series, is_series_path
from .simpleitk import detached_data

__all__ = ["content_of", "entry_content", "scan_files"]

# their header and their voxels are files of their own
_PAIRS = (".hdr", ".img", ".mhd", ".nhdr")
_ENTRY_KEYS = ("image", "label", "brain_mask_file")


def scan_files(image: str | os.PathLike) -> list[str]:
    """
    Files that a scan is read from: of a DICOM series every slice, of a header and its voxels both.

    Args:
        image: a file, a folder, or a DICOM series as ``ROOT::SeriesInstanceUID``.

    Returns:
        Paths, sorted but for the one that is named; of what does not exist, the path itself.

    Raises:
        ScanError: if there is no such series.
    """
    path = os.fspath(image)
    if is_series_path(path):
        return sorted(os.fspath(header.file) for header in get_series(path).headers)
    if os.path.isdir(path):
        return sorted(str(file) for file in Path(path).rglob("*") if file.is_file())
    bare = path[: -len(".gz")] if path.lower().endswith(".gz") else path
    stem, suffix = os.path.splitext(bare)
    if suffix.lower() not in _PAIRS:
        return [path]
    beside = {file for file in glob.glob(f"{glob.escape(stem)}.*") if os.path.isfile(file)}
    return [path, *sorted({*beside, *detached_data(path)} - {path})]


def content_of(paths: Any) -> list[list[str]]:
    """
    Name and SHA-256 of every file behind the paths: neither folder nor time counts, so files may move.

    A file that cannot be read has no digest, and whoever reads it says what is wrong.

    Args:
        paths: a path or several, see :func:`scan_files`.
    """
    return [[os.path.basename(file), _digest(file)] for path in ensure_tuple(paths) for file in _files(path)]


def entry_content(entry: Mapping[str, Any]) -> list[Any]:
    """What a data list's entry is read from: content of image, label and brain mask, named or beside the image."""
    found: list[Any] = [[key, content_of(entry[key])] for key in _ENTRY_KEYS if entry.get(key)]
    images = [image for image in ensure_tuple(entry.get("image") or ()) if isinstance(image, (str, os.PathLike))]
    masks = [mask for image in images if (mask := brain_mask_beside(image))]
    return [*found, content_of(masks), entry.get("image_channels")]


def _files(path: str | os.PathLike) -> Iterable[str]:
    try:
        return scan_files(path)
    except (CUASError, OSError):
        return [os.fspath(path)]


def _digest(path: str) -> str:
    try:
        # a named pipe would be waited for
        return file_digest(path) if os.path.isfile(path) else ""
    except OSError:
        return ""
