# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Folders of files that can be made again: marked, bounded, cleared."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .files import replacing, walk_files

__all__ = ["DEFAULT_LIMIT_GB", "CachedFile", "cached_files", "find_caches", "mark_cache", "shrink_cache", "used"]

logger = logging.getLogger(__name__)

DEFAULT_LIMIT_GB = 20.0
"""How large a cache may become, in units of 10**9 bytes."""

# The standard for such folders (bford.info/cachedir): programs for backups leave a folder with such a file out.
_TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_OURS = f"{_SIGNATURE}\n# Made by monai_cuas. All of it can be made again; monai_cuas cache --clear removes it.\n"
# names that the caches give, and what a killed process left of one
_NAME = re.compile(r"[0-9a-f]{32,}\.(pt|npz)|\.tmp-\d+-\d+-[0-9a-f]+\.npz")
_STARTED = time.time()
# what any process used so lately may be in its use still
_IN_USE_S = 3600.0


@dataclass(frozen=True)
class CachedFile:
    """
    A file of a cache.

    Attributes:
        path: where it lies.
        size: bytes.
        last_used: seconds since the epoch.
    """

    path: str
    size: int
    last_used: float


def mark_cache(folder: str | os.PathLike) -> None:
    """Make a folder a cache of this package; without the mark nothing in it is ever removed."""
    tag = Path(folder, _TAG)
    tag.parent.mkdir(parents=True, exist_ok=True)
    if not tag.exists():
        with replacing(tag) as temporary:
            temporary.write_text(_OURS, encoding="utf-8")


def used(path: str | os.PathLike) -> None:
    """Note that a cached file is in use: its time of change, as many disks keep no time of reading."""
    with contextlib.suppress(OSError):
        os.utime(path)


def find_caches(root: str | os.PathLike) -> list[str]:
    """Marked folders, the given one or below it."""
    return [folder for folder, names in walk_files(root) if _TAG in names and _is_ours(Path(folder, _TAG))]


def _is_ours(tag: Path) -> bool:
    try:
        return tag.read_text(encoding="utf-8", errors="replace") == _OURS
    except OSError:
        return False


def cached_files(folder: str | os.PathLike) -> list[CachedFile]:
    """Files of a marked folder that the caches made, the one longest unused first; nothing else is listed."""
    if not _is_ours(Path(folder, _TAG)):
        return []
    found = []
    for path in _walk(os.fspath(folder)):
        # another process may remove it meanwhile
        with contextlib.suppress(OSError):
            status = os.stat(path)
            found.append(CachedFile(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda file: (file.last_used, file.path))


def _walk(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        yield from (os.path.join(where, name) for name in names if _NAME.fullmatch(name))


def shrink_cache(folder: str | os.PathLike, limit_gb: float = DEFAULT_LIMIT_GB, keep_used: bool = True) -> list[str]:
    """
    Remove what was longest unused until a cache is within its limit.

    Args:
        folder: a marked folder.
        limit_gb: what may stay, in units of 10**9 bytes; 0: nothing.
        keep_used: keep what this process or, in the last hour, any other one used, even beyond the limit.

    Returns:
        Paths of the removed files.

    Raises:
        ValueError: if the limit is negative.
    """
    if limit_gb < 0:
        raise ValueError(f"the limit of a cache must be at least 0 GB, got {limit_gb}.")
    files = cached_files(folder)
    size = sum(file.size for file in files)
    since = min(_STARTED, time.time() - _IN_USE_S)
    removed = []
    for file in files:
        if size <= limit_gb * 1e9:
            break
        if keep_used and file.last_used >= since:
            logger.warning(
                "%s: what is in use takes %.1f GB, more than the limit of %.1f GB.", folder, size / 1e9, limit_gb
            )
            break
        with contextlib.suppress(OSError):
            os.remove(file.path)
            removed.append(file.path)
            size -= file.size
    return removed
