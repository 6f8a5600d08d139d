# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Errors that a user can act on: one sentence that names the file, what is wrong and what to do."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

__all__ = ["CUASError", "ScanError", "scan_message", "user_message"]


class CUASError(ValueError):
    """Base of the errors that are the input's fault; the text is one sentence, fit to be shown without a trace."""


class ScanError(CUASError):
    """A scan that cannot be used.

    Args:
        file: path of the scan (shown as given).
        problem: what is wrong, without a full stop.
        remedy: what the user can do, without a full stop.
    """

    def __init__(self, file: str | os.PathLike, problem: str, remedy: str) -> None:
        self.file, self.problem, self.remedy = os.fspath(file), problem, remedy
        super().__init__(f"{self.file}: {problem}; {remedy}.")


def user_message(error: BaseException | None) -> str | None:
    """Return the sentence of the first :class:`CUASError` in the chain of causes of ``error``, or None.

    MONAI wraps what a transform or a config expression raises in a RuntimeError of its own; the sentence for the
    user is further down the chain.
    """
    while error is not None:
        if isinstance(error, CUASError):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


def scan_message(error: BaseException, file: str | os.PathLike) -> str:
    """
    Return one sentence on whatever went wrong with one scan, so that the others can go on.

    What an unforeseen exception says is not repeated, since it may quote the header, and with it the patient's name.

    Args:
        error: of any kind.
        file: path of the scan, to be named.
    """
    sentence = user_message(error)
    if sentence is not None:
        return sentence
    while error.__cause__ is not None:
        # MONAI wraps what a transform raises
        error = error.__cause__
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"{os.fspath(file)}: there is not enough memory for this scan; use a machine with more."
    if isinstance(error, OSError):
        return (
            f"{os.fspath(file)}: a file of this scan cannot be read or written ({error.strerror or 'no reason given'})."
        )
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""
    return (
        f"{os.fspath(file)}: this scan cannot be processed ({type(error).__name__}{place}); leave it out or report it."
    )
