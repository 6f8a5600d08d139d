# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Errors that a user can act on: one sentence that names the file, what is wrong and what to do."""

from __future__ import annotations

import os

__all__ = ["CUASError", "ScanError", "user_message"]


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
