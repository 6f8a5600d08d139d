# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Progress for people who watch, and for logs that are read later."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["track"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


def track(
    items: Iterable[T], desc: str, total: int | None = None, show: bool = True, leave: bool = False, **kwargs: Any
) -> Iterator[T]:
    """
    Yield the items behind a tqdm bar on a terminal; elsewhere, as in a log file, one line says when they are done.

    Args:
        items: what to go through.
        desc: what is being done.
        total: number of items; None takes their length.
        show: False shows nothing.
        leave: leave the bar on the screen.
        kwargs: further arguments of tqdm.
    """
    bar = tqdm(items, desc=desc, total=total, leave=leave, disable=None if show else True, **kwargs)
    # a bar that is closed calls itself disabled
    hidden, start, count = bar.disable, time.perf_counter(), 0
    for item in bar:
        yield item
        count += 1
    if show and hidden:
        logger.info("%s: %d done in %s", desc, count, tqdm.format_interval(time.perf_counter() - start))
