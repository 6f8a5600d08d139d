# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The evidence lower bound of a VAE."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["ELBOLoss"]


class ELBOLoss(nn.Module):
    """
    Reconstruction plus weighted KL divergence, both summed over pixels or dimensions and divided by the batch size.

    Args:
        reconstruction: "bce" (with logits) or "l2" (of the sigmoid).
        kl_weight: weight of the KL divergence from the standard normal prior.
        reduction: "sum", or "mean": both are divided by the number of pixels and channels, or of dimensions, too, which
            makes a constraint beside them heavier by as much (first release of Silva-Rodriguez et al.).

    Raises:
        ValueError: for another reconstruction or reduction.
    """

    def __init__(self, reconstruction: str = "bce", kl_weight: float = 1.0, reduction: str = "sum") -> None:
        super().__init__()
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be sum or mean, got {reduction}.")
        if reconstruction not in ("bce", "l2"):
            raise ValueError(f"reconstruction must be bce or l2, got {reconstruction}.")
        self.reconstruction, self.kl_weight, self.reduction = reconstruction, kl_weight, reduction

    def terms(self, preds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the unweighted "reconstruction" and "kl"."""
        logits, image, mu, log_var = (preds[key] for key in ("reconstruction", "image", "mu", "log_var"))
        if self.reconstruction == "bce":
            error = F.binary_cross_entropy_with_logits(logits, image, reduction="sum")
        else:
            error = (logits.sigmoid() - image).square().sum()
        kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum()
        mean = self.reduction == "mean"
        return {
            "reconstruction": error / (image.numel() if mean else len(image)),
            "kl": kl / (mu.numel() if mean else len(image)),
        }

    def forward(self, preds: dict[str, torch.Tensor]) -> torch.Tensor:
        """
        Args:
            preds: "image" in [0, 1] and "reconstruction" (logits), (N, C, H, W); "mu" and "log_var" of the latent.
        """
        terms = self.terms(preds)
        return terms["reconstruction"] + self.kl_weight * terms["kl"]
