# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files that are either whole or absent, and what their names mean."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CUASError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "BRAIN_MASK_SUFFIX",
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "brain_mask_beside",
    "file_digest",
    "is_brain_mask",
    "locked",
    "printable",
    "replacing",
    "require_writable",
    "scan_stem",
    "walk_files",
]

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
BRAIN_MASK_SUFFIX = "_brain_mask"

VOLUME_SUFFIXES = (
    *(".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".mgz", ".mgh.gz", ".mgh", ".hdr.gz", ".hdr", ".img.gz", ".img"),
)
"""Of volumes that can be read, DICOM apart; a longer one stands before those that it ends in."""


def printable(text: str) -> str:
    """The text with what is no UTF-8, as in a file's name from another system, shown as ``\\xe4``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _temporary_name(name: str) -> str:
    """Of this process and thread; no longer than a name may be."""
    return f".tmp-{os.getpid()}-{threading.get_ident() % 10**6}-{name if len(os.fsencode(name)) < 200 else name[-40:]}"


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """
    Keep other processes from changing a file while the block reads and writes it.

    The lock is a hidden file beside it, which stays: it is the system that lets it go when a process ends or is killed.

    Args:
        path: the file, which need not exist; its folder must.
    """
    final = Path(path)
    with open(final.with_name(f".{final.name}.lock"), "a", encoding="utf-8") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """
    Yield a temporary path beside ``path``, renamed to it when the block ends well and removed when it does not.

    The temporary name keeps the suffix, since writers choose the format by it.

    Args:
        path: final path; its folder must exist.
    """
    final = Path(path)
    temporary = final.with_name(_temporary_name(final.name))
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


def scan_stem(path: str) -> str:
    """The path of a volume without its suffix."""
    return next((path[: -len(s)] for s in VOLUME_SUFFIXES if path.lower().endswith(s)), path.rstrip("/\\"))


def _say(error: OSError) -> None:
    logger.warning("%s: this folder cannot be read (%s) and is passed over.", error.filename, error.strerror)


def walk_files(root: str | os.PathLike) -> Iterator[tuple[str, list[str]]]:
    """
    Folders and the names in them, both sorted, without what is hidden; links to folders are followed, each folder once.

    Args:
        root: a folder.

    Yields:
        Path of a folder, and the names of what lies in it and is no folder (files, broken links, named pipes).
    """
    seen = {os.path.realpath(root)}
    for folder, subfolders, names in os.walk(os.fspath(root), onerror=_say, followlinks=True):
        kept = []
        for name in sorted(n for n in subfolders if not n.startswith(".")):
            real = os.path.realpath(os.path.join(folder, name))
            if real not in seen:
                seen.add(real)
                kept.append(name)
        subfolders[:] = kept
        yield folder, sorted(name for name in names if not name.startswith("."))


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def is_brain_mask(path: str | os.PathLike) -> bool:
    """True for the name of a brain mask that lies beside its scan, which is no scan itself."""
    return scan_stem(os.fspath(path)).lower().endswith(BRAIN_MASK_SUFFIX)


def brain_mask_beside(scan: str | os.PathLike) -> str | None:
    """The brain mask beside a scan, ``X_brain_mask.nii.gz`` (or another format) for ``X.nii.gz``; None if absent."""
    stem = scan_stem(os.fspath(scan)) + BRAIN_MASK_SUFFIX
    return next((stem + s for s in VOLUME_SUFFIXES if os.path.isfile(stem + s)), None)
