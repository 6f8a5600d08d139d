# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The gradient constraint on a decoder."""

from __future__ import annotations

from typing import Any

import torch

from .constrained_vae import ConstrainedVAELoss
from .elbo import ELBOLoss

__all__ = ["GradConLoss"]


class GradConLoss(ConstrainedVAELoss):
    """
    ELBO - weight * mean over layers of cos(gradient of this batch, mean gradient so far) (Kwon et al. 2020, eq. 3).

    The gradient is that of the reconstruction error with respect to the decoder's weights. Where autograd is off
    (validation) the loss is the ELBO alone.

    Args:
        network: a ``GradConVAE``; it keeps the mean gradient.
        elbo: reconstruction and KL divergence.
        weight: of the alignment. In the paper 0.03 beside a reconstruction error that is a mean over pixels.
        warmup_epochs: epochs in which gradients are collected, not constrained.
    """

    def __init__(self, network: Any, elbo: ELBOLoss, weight: float = 0.03, warmup_epochs: int = 0) -> None:
        super().__init__(elbo, None, weight, warmup_epochs)
        # not a submodule: the network is no part of its loss
        self._network = [network]

    def forward(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            preds: what ``GradConVAE.forward_train`` gives.
            mask: not used.
        """
        loss = self.elbo(preds)
        if not (torch.is_grad_enabled() and preds["reconstruction"].requires_grad):
            return loss
        (network,) = self._network
        gradients = network.gradients(self.elbo.terms(preds)["reconstruction"], create_graph=True)
        if self.epoch > self.warmup_epochs:
            loss = loss - self.weight * network.alignment(gradients)
        network.remember(gradients)
        return loss
