# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which files of the studies' folder can be scans or labels; the others are left out and listed, and end nothing."""

from __future__ import annotations

import os
import stat

from .requests import SUFFIXES, is_id

__all__ = ["LEADS_OUT", "divide", "shown", "why_left_out"]

LEADS_OUT = "it is a link that leads out of the studies' folder"
_MAX_SHOWN = 200


def shown(name: str) -> str:
    """A file's name as JSON can hold it: what is not UTF-8 and what cannot be printed is written as an escape."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:_MAX_SHOWN]


def _id_of(name: str) -> str | None:
    """What is before the suffix of a known format; None for another file."""
    found = [suffix for suffix in SUFFIXES if name.lower().endswith(suffix)]
    return name[: -len(found[0])] if found else None


def why_left_out(folder: str, name: str) -> str | None:
    """
    Judge a file of a known format by its name and kind; nothing of it is read.

    Args:
        folder: of the studies or of the labels.
        name: file in it.

    Returns:
        What keeps it from use; None if nothing does.
    """
    identifier = _id_of(name)
    if identifier is None or not is_id(identifier):
        return "its name is no id: letters, digits, '.', '_' and '-', at most 128; rename it"
    if not name.endswith(SUFFIXES):
        return "the ending of its name must be of small letters; rename it"
    path = os.path.join(folder, name)
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return "it is a link that leads nowhere, or cannot be looked at"
    if stat.S_ISDIR(kind):
        return "it is a folder"
    if not stat.S_ISREG(kind):
        return "it is a pipe or a device"
    if not os.access(path, os.R_OK):
        return "the server may not read it"
    top = os.path.realpath(folder)
    return None if os.path.realpath(path).startswith(top + os.sep) else LEADS_OUT


def divide(folder: str) -> tuple[list[str], dict[str, str]]:
    """
    Files of a folder whose names end as scans do.

    Returns:
        Those that can be used, in the order of their names, and the others with the reason. Of several with one id,
        such as a.nii and a.nii.gz, the first is used.
    """
    usable: list[str] = []
    others: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        identifier = _id_of(name)
        if identifier is None:
            continue
        reason = why_left_out(folder, name)
        if reason is None and identifier in first:
            reason = f"it has the id of {first[identifier]}; rename it"
        if reason is None:
            first[identifier] = name
            usable.append(name)
        else:
            others[name] = reason
    return usable, others
