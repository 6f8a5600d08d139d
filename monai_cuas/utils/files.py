# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files that are either whole or absent, and what their names mean."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CUASError

__all__ = [
    "BRAIN_MASK_SUFFIX",
    "PICTURE_SUFFIXES",
    "brain_mask_beside",
    "is_brain_mask",
    "replacing",
    "require_writable",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
BRAIN_MASK_SUFFIX = "_brain_mask"

_VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """
    Yield a temporary path beside ``path``, renamed to it when the block ends well and removed when it does not.

    The temporary name keeps the suffix, since writers choose the format by it.

    Args:
        path: final path; its folder must exist.
    """
    final = Path(path)
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | os.PathLike) -> str:
    """
    Make ``folder`` if needed and check that files can be written into it.

    Raises:
        CUASError: if it cannot be made or written to.
    """
    path = os.fspath(folder)
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise CUASError(
            f"{path}: cannot write to this folder ({error.strerror}); choose another one with --output_dir."
        ) from error
    return path


def _scan_stem(path: str) -> str:
    return next((path[: -len(s)] for s in _VOLUME_SUFFIXES if path.lower().endswith(s)), path.rstrip("/\\"))


def is_brain_mask(path: str | os.PathLike) -> bool:
    """True for the name of a brain mask that lies beside its scan, which is no scan itself."""
    return _scan_stem(os.fspath(path)).lower().endswith(BRAIN_MASK_SUFFIX)


def brain_mask_beside(scan: str | os.PathLike) -> str | None:
    """The brain mask beside a scan, ``X_brain_mask.nii.gz`` (or another format) for ``X.nii.gz``; None if absent."""
    stem = _scan_stem(os.fspath(scan)) + BRAIN_MASK_SUFFIX
    return next((stem + s for s in _VOLUME_SUFFIXES if os.path.isfile(stem + s)), None)
