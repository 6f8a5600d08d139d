# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Whose scan is it: what tells subjects apart, so that no one is both learnt from and judged on."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from ..io.dicom.index import is_series_path, split_series_path
from ..utils import CUASError, file_digest, scan_stem

__all__ = ["SUBJECT_KEYS", "require_separate_subjects", "subject_of"]

SUBJECT_KEYS = ("subject", "subject_id", "patient", "patient_id", "participant_id", "participant", "id")
"""Keys of a data list's entry that name its subject; the first that is there counts."""

_BIDS = re.compile(r"(?:^|[_/\\])sub-([A-Za-z0-9]+)")
# Lists that may share subjects: both are only judged on.
_JUDGED = {"test_normal": "test", "test_lesion": "test"}
_BLOCK = 1 << 16
_NAMED = 5


def subject_of(entry: Mapping[str, Any]) -> str:
    """
    The subject of a data list's entry.

    By one of :data:`SUBJECT_KEYS`; else by ``sub-XX`` in the path of its first image (BIDS), whatever the session; else
    the file is a subject of its own. "sub-XX" and "XX" are the same, and so are 7 and "7".
    """
    for key in SUBJECT_KEYS:
        value = entry.get(key)
        if value is not None and str(value).strip():
            return str(value).strip().removeprefix("sub-")
    first = os.fspath(ensure_tuple(entry.get("image", ""))[0])
    found = _BIDS.findall(first.replace(os.sep, "/"))
    return found[-1] if found else _file(first)


def _file(path: str) -> str:
    """A series is its UID, wherever it lies; a file is where it really lies, so that links are one file."""
    return split_series_path(path)[1] if is_series_path(path) else os.path.realpath(path)


def require_separate_subjects(lists: Mapping[str, Sequence[Any]], path: str | os.PathLike, base: str | Path) -> None:
    """
    Check that no subject is in two of the lists; the two lists of test scans may share theirs.

    Scans are of one subject if :func:`subject_of` says so, if they are one file, by links too, or copies of one.

    Args:
        lists: entries by the names of the lists.
        path: the data list, for the message.
        base: folder that relative paths of images start from.

    Raises:
        CUASError: naming the subjects.
    """
    seen: dict[tuple[str, str], str] = {}
    shared: dict[str, tuple[str, str]] = {}
    files: list[tuple[str, str, str]] = []
    for name, entries in lists.items():
        for entry in entries:
            if not isinstance(entry, Mapping) or not entry.get("image"):
                continue
            images = [os.path.join(base, os.fspath(image)) for image in ensure_tuple(entry["image"])]
            who = subject_of({**entry, "image": images})
            shown = who if os.sep not in who else os.path.basename(scan_stem(who))
            files += [(image, name, shown) for image in images]
            for identity in (("subject", who), *(("file", _file(image)) for image in images)):
                other = seen.setdefault(identity, name)
                if _JUDGED.get(other, other) != _JUDGED.get(name, name):
                    shared.setdefault(shown, (other, name))
    for shown, pair in _copies(files):
        shared.setdefault(shown, pair)
    if shared:
        told = [f"'{who}' ({first} and {second})" for who, (first, second) in list(shared.items())[:_NAMED]]
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        raise CUASError(
            f"{path}: subjects are in more than one list: {', '.join(told)}{more}; thresholds and figures would not be "
            'of unseen subjects, so keep each in one list (their "subject" tells them apart).'
        )


def _copies(files: Sequence[tuple[str, str, str]]) -> list[tuple[str, tuple[str, str]]]:
    """Files of two lists with the same bytes; those of one size are looked into, and read wholly only if alike."""
    alike: dict[tuple[int, bytes], list[tuple[str, str, str]]] = {}
    for file in {os.path.realpath(item[0]): item for item in files}.values():
        if os.path.isfile(file[0]):
            size = os.path.getsize(file[0])
            alike.setdefault((size, _few_blocks(file[0], size)), []).append(file)
    found = []
    for group in alike.values():
        if len({_JUDGED.get(name, name) for _, name, _ in group}) < 2:
            continue
        first: dict[str, tuple[str, str]] = {}
        for path, name, shown in group:
            other, _ = first.setdefault(file_digest(path), (name, shown))
            if _JUDGED.get(other, other) != _JUDGED.get(name, name):
                found.append((shown, (other, name)))
    return found


def _few_blocks(path: str, size: int) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for start in (0, size // 2, max(size - _BLOCK, 0)):
                file.seek(start)
                digest.update(file.read(_BLOCK))
    except OSError:
        # What cannot be read is said where it is read as a scan.
        return path.encode("utf-8", "surrogateescape")
    return digest.digest()
