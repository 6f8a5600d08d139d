# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Go on with a training run that was stopped or killed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver

from ..utils import ScanError

__all__ = ["TrainingCheckpoint", "find_checkpoints"]

_NAME = re.compile(r"checkpoint_(\d+)\.pt$")
logger = logging.getLogger(__name__)


_DIGEST = "made_with"


class _Made:
    """Digest of settings and data, as part of a checkpoint."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def state_dict(self) -> dict[str, str]:
        return {"sha256": self.digest}

    def load_state_dict(self, state: dict[str, str]) -> None:
        self.digest = state["sha256"]


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
        digest: of settings and data, see :func:`monai_cuas.recipe.training_digest`; a checkpoint of another one is
            refused. None: not checked.
        stale: files of an earlier run, such as its best weights, that a new one removes at its start.
    """

    def __init__(
        self,
        folder: str,
        objects: dict[str, Any],
        resume: bool = False,
        n_saved: int = 2,
        digest: str | None = None,
        stale: Sequence[str] = (),
    ) -> None:
        self.digest, self.stale = digest, tuple(stale)
        self.folder, self.objects, self.resume, self.n_saved = folder, objects, resume, n_saved

    def attach(self, engine: Engine) -> None:
        """Register on the trainer."""
        state = {**self.objects, "trainer": engine}
        if getattr(engine, "scaler", None) is not None:
            state["scaler"] = engine.scaler  # type: ignore[attr-defined]
        if self.digest is not None:
            state[_DIGEST] = _Made(self.digest)
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
        document, damaged = self._newest(found) if self.resume else (None, [])
        if document is not None:
            max_epochs = engine.state.max_epochs
            found = [path for path in found if path not in damaged]
            self._require_same(found[0], document)
            Checkpoint.load_objects(state, document)
            # the run asked for now decides how long to train, not the one that wrote the checkpoint
            engine.state.max_epochs = max_epochs
            logger.info("Resumed from %s (epoch %d of %d).", found[0], engine.state.epoch, max_epochs)
        elif found:
            logger.warning("%s holds an earlier run, replaced now (--resume true would go on with it).", self.folder)
        if idist.get_rank() > 0:
            return
        old = [] if document is not None else [path for path in self.stale if os.path.isfile(path)]
        for path in [*damaged, *old, *(found[1:] if document is not None else found)]:
            if os.path.isfile(path):
                os.remove(path)

    def _newest(self, found: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, and those before it that cannot."""
        damaged: list[str] = []
        for path in found:
            try:
                document = torch.load(path, map_location="cpu", weights_only=True)
                if isinstance(document, dict):
                    return document, damaged
            except Exception:  # torch raises many kinds for a damaged file
                pass
            logger.warning("%s: this checkpoint is damaged; the one before it is taken.", path)
            damaged.append(path)
        if damaged:
            raise ScanError(damaged[0], "no checkpoint of this run can be read", "train anew, without --resume true")
        return None, []

    def _require_same(self, path: str, document: dict[str, Any]) -> None:
        if self.digest is None:
            return
        if document.get(_DIGEST, {}).get("sha256") != self.digest:
            raise ScanError(
                path,
                "this run was made with other settings, data or another version",
                "give it the same ones, take another --output_dir, or train anew without --resume true",
            )
