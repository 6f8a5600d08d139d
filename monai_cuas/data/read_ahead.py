# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Read the next scan while the network works on this one, and no further."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from monai.data import DataLoader

__all__ = ["ReadAheadLoader", "read_ahead"]

T = TypeVar("T")

_END: Any = object()


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """
    Iterate in a thread that is one item ahead.

    While one item is in use exactly one more is made, so at most two are held, whatever their number.
    ``monai.data.ThreadBuffer`` holds three: one in use, one in its queue, and one that waits for a place there.

    Args:
        items: what takes time to make, such as a dataset that reads scans.

    Yields:
        The items in order; an error arrives where its item would.
    """
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        upcoming = pool.submit(next, source, _END)
        while True:
            item = upcoming.result()
            if item is _END:
                return
            upcoming = pool.submit(next, source, _END)
            yield item
            # Not to be held any longer than the caller holds it.
            del item


class ReadAheadLoader(DataLoader):
    """
    MONAI's DataLoader, one batch ahead in a thread; see :func:`read_ahead`.

    Reading and NumPy's work leave Python's lock, so this needs no process of its own (``num_workers=0``).
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return read_ahead(super().__iter__())
