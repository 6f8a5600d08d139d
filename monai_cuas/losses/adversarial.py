# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Losses of networks that are trained against a critic (WGAN-GP; Gulrajani et al. 2017)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .constrained_vae import ConstrainedVAELoss
from .elbo import ELBOLoss

__all__ = ["AdversarialVAELoss", "CriticLoss", "EncodingLoss", "GeneratorLoss", "gradient_penalty"]


def gradient_penalty(critic: nn.Module, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """
    Mean of (||dD/dx|| - 1)^2 at points drawn evenly between pairs of real and generated slices.

    Args:
        critic: D, slices to one number each.
        fake: generated slices, (N, C, H, W).
        real: real slices, same shape.

    Returns:
        A scalar whose graph leads to the critic's parameters.
    """
    part = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (part * real + (1 - part) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class CriticLoss(nn.Module):
    """
    D(fake) - D(real) + weight * gradient penalty, means over the batch; for the critic's own step.

    Args:
        critic: D, slices to one number each.
        penalty_weight: weight of the gradient penalty, 10 in the paper.
    """

    def __init__(self, critic: nn.Module, penalty_weight: float = 10.0) -> None:
        super().__init__()
        self.critic, self.penalty_weight = critic, penalty_weight

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """
        Args:
            fake: generated slices in [0, 1], (N, C, H, W).
            real: real slices, same shape.
        """
        distance = self.critic(fake).mean() - self.critic(real).mean()
        return distance + self.penalty_weight * gradient_penalty(self.critic, fake, real)


class GeneratorLoss(nn.Module):
    """
    -D(fake), mean over the batch; for the generator's step.

    Args:
        critic: D, slices to one number each.
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, preds: dict[str, torch.Tensor], mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            preds: with "fake", generated slices in [0, 1], (N, C, H, W).
            mask: not used.
        """
        return -self.critic(preds["fake"]).mean()


class AdversarialVAELoss(ConstrainedVAELoss):
    """
    AnoVAEGAN (Baur et al. 2018): ELBO - weight * D(x_hat), so that reconstructions look like real slices.

    Args:
        elbo: reconstruction and KL divergence.
        critic: D, slices to one number each.
        weight: of the critic's word.
        warmup_epochs: epochs without it.
    """

    def __init__(self, elbo: ELBOLoss, critic: nn.Module, weight: float = 1.0, warmup_epochs: int = 0) -> None:
        super().__init__(elbo, None, weight, warmup_epochs)
        self.generator = GeneratorLoss(critic)

    def terms(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the unweighted terms: "reconstruction", "kl" and, as "constraint", -D(x_hat)."""
        fake = {"fake": preds["reconstruction"].sigmoid()}
        return {**self.elbo.terms(preds), "constraint": self.generator(fake)}

    def forward(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            preds: what ``ResidualVAE.forward_train`` gives.
            mask: not used.
        """
        loss = self.elbo(preds)
        if self.epoch > self.warmup_epochs:
            loss = loss + self.weight * self.terms(preds, mask)["constraint"]
        return loss


class EncodingLoss(ConstrainedVAELoss):
    """
    izi_f of f-AnoGAN (Schlegl et al. 2019): ||x - x_hat||^2 / n + kappa ||f(x) - f(x_hat)||^2 / n_f.

    x_hat is the generator's slice for the encoder's latent, f are the critic's features, n and n_f their numbers.

    Args:
        critic: MONAI's ``Critic``; its ``net`` without the last layer gives f.
        kappa: weight of the features, 1 in the paper.
    """

    def __init__(self, critic: nn.Module, kappa: float = 1.0) -> None:
        super().__init__(ELBOLoss(), None, kappa)
        self.critic = critic

    def terms(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return "reconstruction" (of the slice), "kl" (always 0) and, as "constraint", the features' error."""
        image, fake = preds["image"], preds["reconstruction"].sigmoid()
        inner: nn.Module = self.critic.net[:-1]  # type: ignore[index, assignment]
        features = F.mse_loss(inner(fake), inner(image))
        return {"reconstruction": F.mse_loss(fake, image), "kl": image.new_zeros(()), "constraint": features}

    def forward(self, preds: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            preds: what ``ResidualAE.forward_train`` gives.
            mask: not used.
        """
        terms = self.terms(preds, mask)
        return terms["reconstruction"] + self.weight * terms["constraint"]
