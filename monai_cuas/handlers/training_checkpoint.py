# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Go on with a training run that was stopped or killed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver

from ..networks.utils import read_tensors
from ..utils import ScanError

__all__ = ["TrainingCheckpoint", "find_checkpoints", "remove_checkpoints"]

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


def remove_checkpoints(folder: str | os.PathLike, stale: Sequence[str | os.PathLike] = (), stages: bool = True) -> None:
    """
    Remove what an earlier run could be resumed from.

    A run that starts anew does so before anything else, so that one that is killed before its first epoch leaves no
    checkpoint of another run behind for ``--resume true``.

    Args:
        folder: of the checkpoints; need not exist.
        stale: further files of an earlier run, such as its best weights.
        stages: those of the stages in the folders below it, too.
    """
    root = Path(folder)
    folders = [root, *(path for path in root.iterdir() if stages and path.is_dir())] if root.is_dir() else []
    found = [path for each in folders for path in find_checkpoints(each)]
    if found:
        logger.warning("%s holds an earlier run, replaced now (--resume true would go on with it).", folder)
    for path in [*found, *stale]:
        if os.path.isfile(path):
            os.remove(path)


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
        resume: False starts anew and removes the checkpoints of an earlier run, with a warning. A run that is resumed
            to train longer is warned of, as its learning rates were planned for another length.
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
            max_epochs = int(engine.state.max_epochs or 0)
            found = [path for path in found if path not in damaged]
            self._require_same(found[0], document)
            self._compare_length(found[0], document, max_epochs)
            Checkpoint.load_objects(state, document)
            # the run asked for now decides how long to train, not the one that wrote the checkpoint
            engine.state.max_epochs = max_epochs
            logger.info("Resumed from %s (epoch %d of %d).", found[0], engine.state.epoch, max_epochs)
        if idist.get_rank() > 0:
            return
        if document is None:
            # the folders below it may be of stages of this very run
            remove_checkpoints(self.folder, self.stale, stages=False)
            return
        for path in [*damaged, *found[1:]]:
            if os.path.isfile(path):
                os.remove(path)

    def _newest(self, found: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, and those before it that cannot."""
        damaged: list[str] = []
        for path in found:
            with contextlib.suppress(ScanError):
                document, _ = read_tensors(path)
                if isinstance(document, dict):
                    return document, damaged
            logger.warning("%s: this checkpoint is damaged; the one before it is taken.", path)
            damaged.append(path)
        if damaged:
            raise ScanError(damaged[0], "no checkpoint of this run can be read", "train anew, without --resume true")
        return None, []

    @staticmethod
    def _compare_length(path: str, document: dict[str, Any], epochs: int) -> None:
        """Refuse a run that is longer than the one asked for, and warn of one that was planned shorter."""
        trainer = document.get("trainer", {})
        done = int(trainer.get("iteration", 0)) // max(int(trainer.get("epoch_length") or 1), 1)
        planned = int(trainer.get("max_epochs") or epochs)
        if done > epochs:
            raise ScanError(
                path,
                f"this run has trained {done} epochs, and {epochs} are asked for",
                "ask for as many or more, or train anew without --resume true",
            )
        if planned != epochs:
            logger.warning(
                "%s: this run was begun as one of %d epochs and goes on to %d, with the learning rates planned then: "
                "its weights are not those of a run of %d epochs.",
                *(path, planned, epochs, epochs),
            )

    def _require_same(self, path: str, document: dict[str, Any]) -> None:
        if self.digest is None:
            return
        if document.get(_DIGEST, {}).get("sha256") != self.digest:
            raise ScanError(
                path,
                "this run was made with other settings, data or another version",
                "give it the same ones, take another --output_dir, or train anew without --resume true",
            )
