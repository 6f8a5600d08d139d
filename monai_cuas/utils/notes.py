# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What is doubtful about a scan travels with it to its row in results.csv."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

__all__ = ["NOTES_KEY", "add_notes", "notes_of"]

NOTES_KEY = "notes"
_BETWEEN = "; "


def add_notes(meta: MutableMapping[str, Any], notes: Iterable[str]) -> None:
    """
    Add phrases to the notes of a scan, each once.

    They are kept as one text, since MONAI's collating takes a text apart from its batch again, and not a list.

    Args:
        meta: metadata of the image.
        notes: without full stop.
    """
    meta[NOTES_KEY] = _BETWEEN.join(dict.fromkeys([*notes_of(meta), *notes]))


def notes_of(meta: MutableMapping[str, Any]) -> list[str]:
    """The notes of a scan, one phrase each."""
    text = str(meta.get(NOTES_KEY) or "")
    return text.split(_BETWEEN) if text else []
