# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What is doubtful about a scan travels with it to its row in results.csv."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["NOTES_KEY", "add_notes", "collected_notes", "note", "notes_of"]

NOTES_KEY = "notes"
_BETWEEN = "; "
_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected_notes", default=None)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """What is said by :func:`note` in this thread meanwhile, for those who know the scan to add to its notes."""
    notes: list[str] = []
    token = _COLLECTED.set(notes)
    try:
        yield notes
    finally:
        _COLLECTED.reset(token)


def note(phrase: str) -> None:
    """Say what is doubtful where the scan is a tensor and nothing more, as in an inferer; lost if no one collects."""
    notes = _COLLECTED.get()
    if notes is not None:
        notes.append(phrase)


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
