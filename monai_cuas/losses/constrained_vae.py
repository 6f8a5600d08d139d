# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The whole training loss: evidence lower bound plus a constraint on the attention."""

from __future__ import annotations

import math

import torch
from torch import nn

from .elbo import ELBOLoss

__all__ = ["ConstrainedVAELoss"]


class ConstrainedVAELoss(nn.Module):
    """
    loss = ELBO + weight * constraint, the constraint from the epoch after the warm-up on.

    Args:
        elbo: reconstruction and KL divergence.
        constraint: called as constraint(attention, mask); None for a plain VAE.
        weight: its weight.
        warmup_epochs: epochs without the constraint; a handler tells the epoch by :meth:`set_epoch`.
    """

    def __init__(
        self, elbo: ELBOLoss, constraint: nn.Module | None = None, weight: float = 1.0, warmup_epochs: int = 0
    ) -> None:
        super().__init__()
        self.elbo, self.constraint, self.weight, self.warmup_epochs = elbo, constraint, weight, warmup_epochs
        # without a handler (validation) the constraint is always on
        self.epoch: float = math.inf

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, counted from 1; a constraint with a schedule of its own hears how long it has been on."""
        self.epoch = epoch
        if hasattr(self.constraint, "set_epoch"):
            self.constraint.set_epoch(epoch - self.warmup_epochs - 1)  # type: ignore[union-attr, operator]

    def terms(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the unweighted terms: "reconstruction", "kl" and "constraint", which is 0 if there is none."""
        terms = self.elbo.terms(preds)
        if self.constraint is None:
            return {**terms, "constraint": preds["attention"].new_zeros(())}
        return {**terms, "constraint": self.constraint(preds["attention"], mask)}

    def forward(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            preds: what ``AttentionVAE.forward_train`` gives.
            mask: brain mask, (N, 1, H, W).
        """
        loss = self.elbo(preds)
        if self.constraint is not None and self.epoch > self.warmup_epochs:
            loss = loss + self.weight * self.constraint(preds["attention"], mask)
        return loss
