# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Go on with a training run that was stopped or killed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint

__all__ = ["ResumeHandler", "find_checkpoints"]

_EPOCH = re.compile(r"checkpoint_epoch=(\d+)\.pt$")
logger = logging.getLogger(__name__)


def find_checkpoints(folder: str | os.PathLike) -> list[str]:
    """List the checkpoints that MONAI's CheckpointSaver wrote into ``folder`` at intervals, newest epoch first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = sorted(((int(m[1]), name) for name in names if (m := _EPOCH.search(name))), reverse=True)
    return [os.path.join(folder, name) for _, name in epochs]


class ResumeHandler:
    """
    Load the newest whole checkpoint of a folder when training starts.

    A process that is killed while it writes leaves a broken file: the next older one is taken then. Random numbers need
    no restoring, see :class:`EpochSeedHandler`.

    Args:
        folder: where MONAI's CheckpointSaver writes (``save_interval=1``).
        load_dict: what to restore, such as network, optimizer and trainer.
        saver: the CheckpointSaver that keeps the best model, whose memory of the best loss is restored as well.
        best_name: file of the best model.
        enabled: False starts anew.
    """

    def __init__(
        self,
        folder: str,
        load_dict: dict[str, Any],
        saver: Any = None,
        best_name: str = "best.pt",
        enabled: bool = True,
    ) -> None:
        self.folder, self.load_dict, self.saver = folder, load_dict, saver
        self.best_name, self.enabled = best_name, enabled

    def attach(self, engine: Engine) -> None:
        """Register on the trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        if not self.enabled:
            if find_checkpoints(self.folder):
                logger.warning(
                    "%s holds checkpoints of an earlier run, which this one replaces (--resume true goes on).",
                    self.folder,
                )
                self._remove_old()
            return
        for path, checkpoint in self._whole_checkpoints():
            max_epochs = engine.state.max_epochs
            Checkpoint.load_objects(to_load=self.load_dict, checkpoint=checkpoint)
            # the run asked for now decides how long to train, not the one that wrote the checkpoint
            engine.state.max_epochs = max_epochs
            self._restore_best()
            logger.info("Resumed from %s (epoch %d of %d).", path, engine.state.epoch, max_epochs)
            return

    def _remove_old(self) -> None:
        for path in find_checkpoints(self.folder):
            os.remove(path)

    def _whole_checkpoints(self) -> Iterator[tuple[str, dict]]:
        for path in find_checkpoints(self.folder):
            try:
                yield path, torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a broken zip raises RuntimeError, EOFError or UnpicklingError
                logger.warning("%s cannot be read (%s); trying the one before.", path, type(error).__name__)

    def _restore_best(self) -> None:
        best = os.path.join(self.folder, self.best_name)
        if self.saver is None or not os.path.isfile(best):
            return
        try:
            state = torch.load(best, map_location="cpu", weights_only=True)
        except Exception as error:
            logger.warning("%s cannot be read (%s); the best model is chosen anew.", best, type(error).__name__)
            return
        if "checkpointer" in state:
            self.saver.load_state_dict(state["checkpointer"])
