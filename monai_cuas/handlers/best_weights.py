# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Keep the weights that explain held-out normal scans best; no lesion takes part in the choice."""

from __future__ import annotations

import logging
import math
import os

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from ..networks.utils import save_weights

__all__ = ["BestWeightsSaver"]

logger = logging.getLogger(__name__)


class BestWeightsSaver:
    """
    Save the network whenever a loss on held-out normal scans reaches a new minimum.

    The minimum is part of the training checkpoint (``state_dict``), so a resumed run goes on comparing with it. In
    distributed training every process compares, as ignite's metrics are those of all, and the first one writes.

    Args:
        path: weights file, replaced in one step.
        network: what to save, a plain state dict.
        metric_name: name of the loss among the evaluator's metrics; smaller is better.
    """

    def __init__(self, path: str, network: nn.Module, metric_name: str = "val_loss") -> None:
        self.path, self.network, self.metric_name = path, network, metric_name
        self.best, self.epoch = math.inf, 0

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator that scores the held-out normal scans."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        loss = float(engine.state.metrics[self.metric_name])
        if loss < self.best:
            # ValidationHandler sets the evaluator's epoch to the trainer's
            self.best, self.epoch = loss, engine.state.epoch
            if idist.get_rank() > 0:
                return
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            save_weights(self.network, self.path)
            logger.info("Best %s so far: %.4f in epoch %d.", self.metric_name, loss, self.epoch)

    @staticmethod
    def is_better(current: float, best: float) -> bool:
        """Whether a loss is a new minimum, for MONAI's engines, whose first best is -1."""
        return current < best or best == -1

    def state_dict(self) -> dict[str, float]:
        """The minimum so far and its epoch."""
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up the minimum of an earlier part of the run."""
        self.best, self.epoch = float(state["best"]), int(state["epoch"])
