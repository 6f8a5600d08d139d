# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss of a network that finds and undoes synthetic anomalies, with the paper's constraint at its side."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["SyntheticAnomalyLoss"]


class SyntheticAnomalyLoss(nn.Module):
    """
    Weighted cross-entropy of what was altered, plus the absolute error of the restored slice, over brain pixels.

    Args:
        positive_weight: weight of altered pixels in the cross-entropy, which are few.
        restoration_weight: weight of the absolute error.
        constraint: called as constraint(attention, mask), such as ``AttentionEntropyLoss``; None: none.
        weight: its weight.
        warmup_epochs: epochs without the constraint; a handler tells the epoch by :meth:`set_epoch`.

    Raises:
        ValueError: if a weight is negative.
    """

    def __init__(
        self,
        positive_weight: float = 4.0,
        restoration_weight: float = 1.0,
        constraint: nn.Module | None = None,
        weight: float = 1.0,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        if positive_weight <= 0 or restoration_weight < 0:
            raise ValueError(f"weights must not be negative, got {positive_weight} and {restoration_weight}.")
        self.positive_weight, self.restoration_weight = positive_weight, restoration_weight
        self.constraint, self.weight, self.warmup_epochs = constraint, weight, warmup_epochs
        # without a handler (validation) the constraint is always on
        self.epoch: float = math.inf

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, counted from 1."""
        self.epoch = epoch

    def terms(self, preds: dict[str, torch.Tensor], target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the unweighted terms: "segmentation", "restoration" and, if there is one, "constraint"."""
        logit, restored = (preds[k].float() for k in ("logit", "restoration"))
        mask, label, image = target[:, :1], target[:, 1:2].float(), target[:, 2:].float()
        inside = (mask > 0).float()
        n = inside.sum().clamp(min=1)
        weight = inside * (1 + (self.positive_weight - 1) * label)
        entropy = F.binary_cross_entropy_with_logits(logit, label, reduction="none")
        error = (restored - image).abs().mean(dim=1, keepdim=True)
        terms = {"segmentation": (entropy * weight).sum() / n, "restoration": (error * inside).sum() / n}
        if self.constraint is not None:
            terms["constraint"] = self.constraint(preds["attention"], mask)
        return terms

    def forward(self, preds: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            preds: what ``AnomalyUNet.forward_train`` gives.
            target: (N, 2 + C, H, W): brain mask, label, and the slice as it was; see ``PrepareBatchAnomaly``.
        """
        terms = self.terms(preds, target)
        loss = terms["segmentation"] + self.restoration_weight * terms["restoration"]
        if self.constraint is not None and self.epoch > self.warmup_epochs:
            loss = loss + self.weight * terms["constraint"]
        return loss
