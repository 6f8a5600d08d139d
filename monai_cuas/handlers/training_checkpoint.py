# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Go on with a training run that was stopped or killed."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver

__all__ = ["TrainingCheckpoint", "find_checkpoints"]

_NAME = re.compile(r"checkpoint_(\d+)\.pt$")
logger = logging.getLogger(__name__)


def find_checkpoints(folder: str | os.PathLike) -> list[str]:
    """List the checkpoints of a training run in ``folder``, newest epoch first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = sorted(((int(m[1]), name) for name in names if (m := _NAME.match(name))), reverse=True)
    return [os.path.join(folder, name) for _, name in epochs]


class TrainingCheckpoint:
    """
    Write a checkpoint after each epoch and, if asked, load the newest one when training starts.

    Ignite's ``Checkpoint`` with an atomic ``DiskSaver``: MONAI's ``CheckpointSaver`` writes in place, so a process that
    is killed while it writes would leave a broken file. The trainer itself (epoch, iteration) is added when the
    handler is attached, which a config cannot do without a circular reference. Random numbers need no restoring, see
    :class:`EpochSeedHandler`. In distributed training every process reads a checkpoint, and the first one writes.

    Args:
        folder: where ``checkpoint_<epoch>.pt`` goes; made if needed.
        objects: what to save and restore beside the trainer; each has ``state_dict`` and ``load_state_dict``.
        resume: False starts anew and removes the checkpoints of an earlier run, with a warning.
        n_saved: how many checkpoints are kept.
    """

    def __init__(self, folder: str, objects: dict[str, Any], resume: bool = False, n_saved: int = 2) -> None:
        self.folder, self.objects, self.resume, self.n_saved = folder, objects, resume, n_saved

    def attach(self, engine: Engine) -> None:
        """Register on the trainer."""
        state = {**self.objects, "trainer": engine}
        if getattr(engine, "scaler", None) is not None:
            state["scaler"] = engine.scaler  # type: ignore[attr-defined]
        saver = Checkpoint(
            state,
            DiskSaver(self.folder, require_empty=False),
            n_saved=self.n_saved,
            global_step_transform=lambda trainer, _: trainer.state.epoch,
        )
        engine.add_event_handler(Events.STARTED, self._start, state)
        engine.add_event_handler(Events.EPOCH_COMPLETED, saver)

    def _start(self, engine: Engine, state: dict[str, Any]) -> None:
        found = find_checkpoints(self.folder)
        if self.resume and found:
            max_epochs = engine.state.max_epochs
            Checkpoint.load_objects(state, torch.load(found[0], map_location="cpu", weights_only=True))
            # the run asked for now decides how long to train, not the one that wrote the checkpoint
            engine.state.max_epochs = max_epochs
            logger.info("Resumed from %s (epoch %d of %d).", found[0], engine.state.epoch, max_epochs)
        elif found:
            logger.warning("%s holds an earlier run, replaced now (--resume true would go on with it).", self.folder)
        for path in () if idist.get_rank() > 0 else found[1:] if self.resume else found:
            os.remove(path)
