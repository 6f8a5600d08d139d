# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Stop a training run whose loss is no number any more."""

from __future__ import annotations

import math

import torch
from ignite.engine import Engine, Events

from ..utils import CUASError

__all__ = ["StopOnNan"]


class StopOnNan:
    """Raise when the training loss is NaN or infinite, before such weights reach a checkpoint."""

    def attach(self, engine: Engine) -> None:
        """Register on the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """
        Raises:
            CUASError: at the first loss that is not finite.
        """
        loss = float(torch.as_tensor(engine.state.output["loss"]).detach())  # type: ignore[index]
        if not math.isfinite(loss):
            raise CUASError(
                f"The training loss became {loss} in epoch {engine.state.epoch}; lower the learning rate "
                f"(--learning_rate) or the constraint's weight (--constraint_weight)."
            )
