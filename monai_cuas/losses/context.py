# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss of the context-encoding VAE."""

from __future__ import annotations

import torch

from .elbo import ELBOLoss

__all__ = ["ContextELBOLoss"]


class ContextELBOLoss(ELBOLoss):
    """ELBO of the whole slice plus the reconstruction error from the masked one (Zimmerer et al. 2018)."""

    def terms(self, preds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return "reconstruction", the sum of both branches, and "kl"."""
        terms = super().terms(preds)
        masked = super().terms({**preds, "reconstruction": preds["context_reconstruction"]})
        return {**terms, "reconstruction": terms["reconstruction"] + masked["reconstruction"]}
