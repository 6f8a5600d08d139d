# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files that are either whole or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CUASError

__all__ = ["PICTURE_SUFFIXES", "replacing", "require_writable"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


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
