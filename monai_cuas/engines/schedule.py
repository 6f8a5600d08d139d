# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How long to train, and how often to validate."""

from __future__ import annotations

import math

from ..utils import CUASError

__all__ = ["optimizer_steps", "training_epochs", "validation_interval"]

_MAX_VALIDATIONS = 24


def optimizer_steps(epochs: int, batches: int) -> int:
    """
    Steps of the optimiser in a whole training.

    Args:
        epochs: of the training.
        batches: of an epoch.

    Returns:
        Their product.

    Raises:
        CUASError: if an epoch has no batch: a trainer would end, in silence, with the weights it began with.
    """
    if batches < 1:
        raise CUASError(
            "There is no whole batch of training slices, so nothing can be learnt: give more scans, lower "
            "--batch_size, or keep what is left over (--train#dataloader#drop_last False)."
        )
    return epochs * batches


def training_epochs(iterations: int, batches: int) -> int:
    """
    Epochs that make at least so many steps, whatever the number of scans: a network that sees few slices needs as many
    steps as one that sees many.

    Args:
        iterations: steps of the optimiser to make.
        batches: of an epoch.

    Returns:
        At least 1; where validation cannot follow every epoch, rounded up so that it follows the last one.

    Raises:
        ValueError: if either is below 1.
    """
    if iterations < 1 or batches < 1:
        raise ValueError(f"iterations and batches must be at least 1, got {iterations} and {batches}.")
    epochs = math.ceil(iterations / batches)
    step = math.ceil(epochs / _MAX_VALIDATIONS)
    return math.ceil(epochs / step) * step


def validation_interval(epochs: int) -> int:
    """
    Epochs from one validation to the next: at most some 24 validations, the last of them behind the last epoch.

    Args:
        epochs: of the training.

    Returns:
        A divisor of ``epochs``; 1, and so more validations, if it has no fitting one.
    """
    most = math.ceil(epochs / _MAX_VALIDATIONS)
    return next(step for step in range(max(most, 1), 0, -1) if epochs % step == 0)
