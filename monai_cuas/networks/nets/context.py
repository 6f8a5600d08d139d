# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoders that learn to fill in what is masked."""

from __future__ import annotations

import torch

from .residual import ResidualVAE, input_gradient

__all__ = ["ContextVAE", "ContextEncodingVAE"]


class ContextVAE(ResidualVAE):
    """
    VAE that sees a masked slice in training and must give the whole one; the map is |x - x_hat| of the unmasked slice.

    The data loader masks (``RandCoarseDropoutd``) and puts the masked slice behind the whole one, as further channels.

    Args:
        kwargs: of :class:`AttentionVAE`.
    """

    def pair(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            x: (N, 2 C, H, W), the whole slices and behind them the masked ones, or (N, C, H, W), where nothing is
                masked.

        Returns:
            The whole and the masked slices, each (N, C, H, W).

        Raises:
            ValueError: for another number of channels.
        """
        channels = self.output.out_channels
        if x.shape[1] not in (channels, 2 * channels):
            raise ValueError(f"there must be {channels} channels, {2 * channels} with masked ones, got {x.shape[1]}.")
        return x[:, :channels], x[:, -channels:]

    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: slices in foreground-quantile coordinates, see :meth:`pair`.

        Returns:
            As :class:`AttentionVAE` does; "reconstruction" is from the masked slice, "image" is the whole one.
        """
        whole, masked = self.pair(x)
        return {**super().forward_train(masked), "image": self.standardize(whole)}


class ContextEncodingVAE(ContextVAE):
    """
    Context-encoding VAE (Zimmerer et al. 2018): one encoder and decoder in two branches, VAE and context encoder.

    The map is |x - x_hat| times |d(-ELBO)/dx|: where the reconstruction fails and the density asks for a change.
    """

    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: slices in foreground-quantile coordinates, see :meth:`pair`.

        Returns:
            As :class:`AttentionVAE` does, and "context_reconstruction": logits from the masked slice, not sampled.
        """
        whole, masked = self.pair(x)
        preds = ResidualVAE.forward_train(self, whole)
        mu, _ = self.encode(self.features(self.standardize(masked)))
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
