# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Progress of a training run."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar

__all__ = ["EpochProgressBar"]


class EpochProgressBar(ProgressBar):
    """
    Ignite's progress bar with one step an epoch, for training runs with many short epochs; on terminals alone.

    Elsewhere, as in a log file, ``StatsHandler`` has a line for each epoch.

    Args:
        desc: text before the bar.
        kwargs: passed to ``tqdm``.
    """

    def __init__(self, desc: str = "training", **kwargs: Any) -> None:
        super().__init__(persist=True, desc=desc, **{"disable": None, **kwargs})

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Register on the trainer; the loss of the epoch's last step stands behind the bar."""
        super().attach(
            engine,
            event_name=Events.EPOCH_COMPLETED,
            closing_event_name=Events.COMPLETED,
            output_transform=lambda output: {"loss": float(torch.as_tensor(output["loss"]).detach())},
        )
