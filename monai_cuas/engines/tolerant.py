# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Inference goes on when the map or the mask of one scan cannot be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.utils import first

from ..data.robust import note_failure
from ..utils import add_notes, collected_notes

__all__ = ["TolerantEvaluator"]


class TolerantEvaluator(SupervisedEvaluator):
    """
    MONAI's ``SupervisedEvaluator`` for batches of one scan: an exception of network, inferer or postprocessing leaves
    out that scan and nothing else. Handlers of the iteration then find an empty batch and an empty output.

    Args:
        failed: takes (file, sentence), such as that of :class:`~monai_cuas.data.robust.TolerantDataset`.
        kwargs: of ``SupervisedEvaluator``.
    """

    def __init__(self, *args: Any, failed: list[tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failed: list[tuple[str, str]] = [] if failed is None else failed
        # MONAI's keeps it in an event handler alone, where nobody can look at it
        self.postprocessing = kwargs.get("postprocessing")

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        try:
            with collected_notes() as notes:
                output = super()._iteration(engine, batchdata)
            if notes:
                _add_to_scans([*_taken_apart(engine.state.batch), *_taken_apart(output)], notes)
            return output
        except Exception as error:
            note_failure(self.failed, _file_of(batchdata), error)
            engine.state.batch = []
            return []


def _taken_apart(items: Any) -> list[Any]:
    """A batch's items; none where it has not been decollated."""
    return list(items) if isinstance(items, (list, tuple)) else []


def _add_to_scans(items: Iterable[Any], notes: Sequence[str]) -> None:
    """Notes of one scan to each copy of it."""
    for item in items:
        image = item.get("image") if isinstance(item, Mapping) else None
        if isinstance(image, MetaTensor):
            add_notes(image.meta, notes)


def _file_of(batchdata: Any) -> str:
    meta = getattr(batchdata.get("image"), "meta", {}) if isinstance(batchdata, dict) else {}
    file = meta.get("filename_or_obj", "a scan")
    return str(first(file, "a scan") if isinstance(file, (list, tuple)) else file)
