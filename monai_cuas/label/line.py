# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How much may be asked of the server at once: heavy work stands in a line, and the line has an end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .requests import refuse

__all__ = ["RUNNING_VARIABLE", "WAITING_VARIABLE", "Line", "heavy", "long"]

RUNNING_VARIABLE = "MONAI_CUAS_RUNNING"
WAITING_VARIABLE = "MONAI_CUAS_WAITING"


class Line:
    """
    A line of requests: some run, some wait, and more are refused.

    Args:
        running: how many run at once; with one, no more than one scan is in memory.
        waiting: how many may wait.
    """

    def __init__(self, running: int = 1, waiting: int = 16) -> None:
        self._places = threading.BoundedSemaphore(running + waiting)
        self._running = threading.BoundedSemaphore(running)
        self._own = threading.local()

    @contextmanager
    def turn(self, refuse_when_full: bool = True) -> Iterator[None]:
        """
        Wait for a turn, and keep it until the end of the block; within a turn of this thread's it is its own.

        Args:
            refuse_when_full: False for work that was let in already, such as the next scan of a batch: it waits beside
                the line.

        Raises:
            HTTPException: 429 if the line is full.
        """
        if getattr(self._own, "inside", False):
            yield
            return
        placed = self._places.acquire(blocking=False)
        if not placed and refuse_when_full:
            raise refuse(429, "The server has as much to do as it takes at once; ask again in a while.")
        try:
            with self._running:
                self._own.inside = True
                try:
                    yield
                finally:
                    self._own.inside = False
        finally:
            if placed:
                self._places.release()


def _number(variable: str, default: int, least: int) -> int:
    """A whole number of the environment; what is none counts as not said."""
    value = os.environ.get(variable, "")
    return max(least, int(value)) if value.isdigit() else default


# FastAPI answers in 40 threads: those that wait here must leave some for what is quick, /health above all
heavy = Line(_number(RUNNING_VARIABLE, 1, 1), min(_number(WAITING_VARIABLE, 16, 0), 24))
"""What reads and scores scans."""

long = Line(2, 0)
"""What may keep a thread for minutes: scoring for the next scan, tasks that are waited for."""
