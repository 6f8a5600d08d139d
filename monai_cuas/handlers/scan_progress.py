# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Progress of an inference over many scans."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import ensure_tuple
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..utils import printable

__all__ = ["ScanProgress"]


class ScanProgress:
    """
    A tqdm bar with one step a scan, the time left and the file name of the scan done last; on terminals alone.

    Ignite's ``ProgressBar`` asks for the number of scans before the run, which is not known where some cannot be read:
    those count when the run ends. Lines of the log are written above the bar.

    Args:
        scans: data list of the run; its length is that of the bar.
        image_key: where the engine's batch keeps the image, whose metadata names its file.
        kwargs: of ``tqdm``.
    """

    def __init__(self, scans: Sequence[Mapping[str, Any]], image_key: str = "image", **kwargs: Any) -> None:
        self.scans, self.image_key = scans, image_key
        self.kwargs = {"disable": None, "unit": "scan", "desc": "scans", **kwargs}
        self.bar: Any = None
        self._redirect: Any = None

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        engine.add_event_handler(Events.TERMINATE, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.failed)

    def started(self, engine: Engine) -> None:
        """Show the bar."""
        self.bar = tqdm(total=len(self.scans), **self.kwargs)
        if not self.bar.disable:
            self._redirect = logging_redirect_tqdm()
            self._redirect.__enter__()

    def __call__(self, engine: Engine) -> None:
        """Count the scan that was just done, and name it by its file's name, without folders."""
        batch: Any = engine.state.batch
        for item in batch if isinstance(batch, (list, tuple)) else [batch]:
            meta = getattr(item.get(self.image_key), "meta", {})
            file = next(iter(ensure_tuple(meta.get("filename_or_obj", ""))), "")
            self.bar.set_postfix_str(printable(os.path.basename(str(file).rstrip("/\\"))), refresh=False)
        self.bar.update()

    def completed(self, engine: Engine) -> None:
        """Count those that could not be read, which are listed elsewhere, and close the bar."""
        self.bar.n = self.bar.total
        self.bar.refresh()
        self.close(engine)

    def failed(self, engine: Engine, error: BaseException) -> None:
        """Close the bar; the error goes on."""
        self.close(engine)
        raise error

    def close(self, engine: Engine) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
        if self._redirect is not None:
            self._redirect.__exit__(None, None, None)
            self._redirect = None
