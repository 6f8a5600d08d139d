# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoders that learn to fill in what is masked."""

from __future__ import annotations

from typing import Any

import torch

from .residual import ResidualVAE, input_gradient

__all__ = ["ContextVAE", "ContextEncodingVAE", "mask_squares"]


def mask_squares(image: torch.Tensor, side: int, most: int) -> torch.Tensor:
    """
    Put squares of 0 into each slice, 1 to ``most`` of them, each centred on a foreground pixel.

    Args:
        image: (N, C, H, W), background 0.
        side: side of the squares in pixels.
        most: largest number of squares in a slice.

    Returns:
        A masked copy.
    """
    masked = image.clone()
    for sample in masked:
        foreground = torch.nonzero(sample.amax(dim=0) > 0)
        if not len(foreground):
            continue
        count = int(torch.randint(1, most + 1, ()))
        for row, column in foreground[torch.randint(len(foreground), (count,))].tolist():
            top, left = max(row - side // 2, 0), max(column - side // 2, 0)
            sample[:, top : top + side, left : left + side] = 0
    return masked


class ContextVAE(ResidualVAE):
    """
    VAE that sees a masked slice in training and must give the whole one; the map is |x - x_hat| of the unmasked slice.

    Args:
        square: side of the masked squares, as a part of the slice's side.
        squares: largest number of squares.
        kwargs: of :class:`AttentionVAE`.

    Raises:
        ValueError: if the squares make no sense.
    """

    def __init__(self, *args: Any, square: float = 20 / 128, squares: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.side, self.squares = round(square * self.sizes[0]), squares
        if not 1 <= self.side <= self.sizes[0] or squares < 1:
            raise ValueError(f"there must be at least 1 square of 1 pixel to a slice, got {squares} of {square}.")

    def masked(self, x: torch.Tensor) -> torch.Tensor:
        """The slices with squares of 0 in training mode, as they are otherwise."""
        return mask_squares(x, self.side, self.squares) if self.training else x

    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W).

        Returns:
            As :class:`AttentionVAE` does; "reconstruction" is from the masked slice, "image" is the whole one.
        """
        return {**super().forward_train(self.masked(x)), "image": self.standardize(x)}


class ContextEncodingVAE(ContextVAE):
    """
    Context-encoding VAE (Zimmerer et al. 2018): one encoder and decoder in two branches, VAE and context encoder.

    The map is |x - x_hat| times |d(-ELBO)/dx|: where the reconstruction fails and the density asks for a change.
    """

    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W).

        Returns:
            As :class:`AttentionVAE` does, and "context_reconstruction": logits from the masked slice, not sampled.
        """
        preds = ResidualVAE.forward_train(self, x)
        mu, _ = self.encode(self.features(self.standardize(self.masked(x))))
        return {**preds, "context_reconstruction": self.decode(mu, x.shape[-2:])}

    def anomaly_map(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The raw map, (N, 1, H, W).
        """
        # evaluators switch autograd off, by no_grad or inference_mode
        with torch.inference_mode(False), torch.enable_grad():
            x = image.clone().requires_grad_()
            mu, log_var = self.encode(self.features(x))
            error = (x - self.decode(mu, x.shape[-2:]).sigmoid()).abs()
            kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum()
            gradient = input_gradient(error.sum() + kl, x)
        return (error.detach() * gradient.abs()).mean(dim=1, keepdim=True)
