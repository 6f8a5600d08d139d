# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoders whose map is what they cannot reconstruct."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .attention_vae import AttentionVAE

__all__ = ["ResidualAE", "ResidualVAE", "input_gradient"]


def input_gradient(loss: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Gradient of a loss, summed over the batch, with respect to the image."""
    return torch.autograd.grad(loss, image)[0]


class ResidualVAE(AttentionVAE):
    """
    The variational autoencoder of :class:`AttentionVAE` with the reconstruction error as its map.

    In evaluation mode ``forward`` gives mean_c |x_c - x_hat_c|, (N, 1, H, W), of the standardised slice x and its
    reconstruction from the latent mean; in training mode the dictionary of ``forward_train``. TorchScript scripting is
    offered by :class:`AttentionVAE` alone; the map can be traced.

    Args:
        kwargs: of :class:`AttentionVAE`.
    """

    def forward(self, x: torch.Tensor) -> Any:
        """
        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W), background 0.

        Returns:
            The map (N, 1, H, W) in evaluation mode, the dictionary of ``forward_train`` in training mode.
        """
        return self.forward_train(x) if self.training else self.anomaly_map(self.standardize(x))

    def anomaly_map(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The raw map, (N, 1, H, W).
        """
        return (image - self.pseudo_healthy(image)).abs().mean(dim=1, keepdim=True)

    def pseudo_healthy(self, image: torch.Tensor) -> torch.Tensor:
        """What the map subtracts from standardised slices: here their reconstruction; same shape."""
        return self.reconstruct(image)

    def reconstruct(self, image: torch.Tensor) -> torch.Tensor:
        """Reconstruction of standardised slices from the latent mean, in [0, 1], same shape."""
        mu, _ = self.encode(self.features(image))
        return self.decode(mu, image.shape[-2:]).sigmoid()

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Slices in [0, 1] from latent codes: what an adversarial training calls the generator."""
        return self.decode(z, self.sizes[:1] * 2).sigmoid()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent code: (latent_size,) or, for a spatial latent, (latent_size, h, w)."""
        side = () if self.latent == "dense" else (self.sizes[-1], self.sizes[-1])
        return (int(self.mu.weight.shape[0]), *side)  # type: ignore[union-attr, arg-type, index]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters from the image to the latent mean."""
        parts: list[nn.Module] = [self.stem, self.stages, self.mu]
        return [p for part in parts for p in part.parameters()]

    def generator_parameters(self) -> list[nn.Parameter]:
        """Parameters from the latent to the image."""
        parts: list[nn.Module] = [self.from_latent, self.decoder, self.output]
        return [p for part in parts for p in part.parameters()]


class ResidualAE(ResidualVAE):
    """Plain autoencoder: the latent is its mean in training too; train it with a ``kl_weight`` of 0."""

    def sample(self, mu: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        """The latent without a draw."""
        return mu
