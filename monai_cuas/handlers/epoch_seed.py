# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Random numbers that depend on the seed and the epoch alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

__all__ = ["EpochSeedHandler"]


class EpochSeedHandler:
    """
    Seed Python, NumPy and PyTorch anew at the start of each epoch.

    A run that was killed and resumed at the start of epoch k then draws what the unbroken run drew in epoch k: the same
    order of slices, the same latent samples. So there is no random state that a checkpoint could lack.

    Args:
        seed: seed of the whole run.
        rank: rank of this process in distributed training; each draws its own latent samples.
        data: a data set whose draws depend on the epoch (``set_epoch``), if it has such draws.
    """

    def __init__(self, seed: int, rank: int = 0, data: Any = None) -> None:
        self.seed, self.rank, self.data = seed, rank, data

    def attach(self, engine: Engine) -> None:
        """Register on the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        sequence = np.random.SeedSequence((self.seed, engine.state.epoch, self.rank))
        value = int(sequence.generate_state(1)[0])
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        if hasattr(self.data, "set_epoch"):
            # not the rank: a sample is the same whichever process has it
            self.data.set_epoch(engine.state.epoch)
