# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A run over many scans does not end at the first bad one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from monai.data import IterableDataset
from monai.transforms import apply_transform
from monai.utils import ensure_tuple
from torch.utils.data import get_worker_info

from ..utils import CUASError, printable, scan_message

__all__ = ["TolerantDataset", "note_failure"]

logger = logging.getLogger(__name__)


def note_failure(failed: list[tuple[str, str]], file: str, error: Exception) -> None:
    """
    Keep and log that a scan is left out.

    Args:
        failed: takes (file, sentence).
        file: path of the scan.
        error: what was raised; its traceback is logged for developers (level debug).
    """
    sentence = scan_message(error, file)
    failed.append((file, sentence))
    logger.warning("left out: %s", printable(sentence))
    logger.debug("%s", type(error).__name__, exc_info=error)


class TolerantDataset(IterableDataset):
    """
    Yield the scans that can be used and keep a list of those that cannot.

    There is no length, as it is not known before the end. Read it in one process (``num_workers=0``;
    :class:`ReadAheadLoader` reads ahead in a thread): the list of failures of another process would be lost.

    Args:
        data: datalist.
        transform: preprocessing; whatever it raises for a scan leaves out that scan.
        image_key: key of the path that names the scan.
        failed: list that takes the failures, emptied at the start of each pass.
        allow_empty: an empty list is no fault: all is done.

    Attributes:
        failed: (file, sentence) of each scan that could not be used in the last pass.

    Raises:
        CUASError: if ``data`` is empty and may not be.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable | None = None,
        image_key: str = "image",
        failed: list[tuple[str, str]] | None = None,
        allow_empty: bool = False,
    ) -> None:
        if not data and not allow_empty:
            raise CUASError("there is no scan in the list; check the input folder or the name of the list.")
        super().__init__(list(data), transform)
        self.image_key = image_key
        self.failed: list[tuple[str, str]] = [] if failed is None else failed

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError("TolerantDataset keeps its list of failures in this process: use num_workers=0.")
        self.failed.clear()
        for entry in self.data:
            item = self._read(entry)
            if item is not None:
                yield item

    def _read(self, entry: Mapping[str, Any]) -> Any:
        try:
            return apply_transform(self.transform, dict(entry)) if self.transform is not None else dict(entry)
        except Exception as error:
            file = os.fspath(ensure_tuple(entry[self.image_key])[0])
            note_failure(self.failed, file, error)
            return None

    def report(self) -> None:
        """
        Name the scans that failed, which were logged one by one, in one error.

        Raises:
            CUASError: if any did.
        """
        if not self.failed:
            return
        total = len(self.data)  # type: ignore[arg-type]
        reasons = " ".join(sentence for _, sentence in self.failed)
        raise CUASError(printable(f"{len({file for file, _ in self.failed})} of {total} scans failed: {reasons}"))
