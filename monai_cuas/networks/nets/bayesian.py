# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoder whose map is a mean over Monte Carlo dropout samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .residual import ResidualVAE

__all__ = ["BayesianVAE", "SampledDropout"]


class SampledDropout(nn.Module):
    """
    Channel dropout that, in evaluation mode, takes its mask from a fixed set: one thinned network for all slices.

    Fresh masks for each call would give another map for the same slice at another batch size.

    Args:
        p: probability of a channel to be dropped, in [0, 1).
        channels: number of channels.
        samples: number of masks.
        seed: of the masks.
    """

    def __init__(self, p: float, channels: int, samples: int, seed: int) -> None:
        super().__init__()
        self.p = p
        # None: no dropout in evaluation mode
        self.current: int | None = None
        keep = torch.rand(samples, channels, generator=torch.Generator().manual_seed(seed)) >= p
        self.register_buffer("masks", keep.float() / (1 - p), persistent=False)
        self.masks: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: (N, channels, ...), any number of spatial dimensions.
        """
        if self.training:
            mask = F.dropout(x.new_ones(x.shape[:2]), self.p)
            return x * mask.view(*x.shape[:2], *[1] * (x.ndim - 2))
        if self.current is None:
            return x
        return x * self.masks[self.current].to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))


class BayesianVAE(ResidualVAE):
    """
    VAE with dropout on the latent and on the decoder's features; the map is the mean of |x - x_hat_k| over K samples.

    Args:
        dropout: probability p of a channel to be dropped.
        samples: number K of samples.
        kwargs: of :class:`AttentionVAE`.

    Raises:
        ValueError: if ``dropout`` or ``samples`` makes no sense.
    """

    def __init__(self, *args: Any, dropout: float = 0.2, samples: int = 100, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= dropout < 1 or samples < 1:
            raise ValueError(f"dropout must be in [0, 1) and samples at least 1, got {dropout} and {samples}.")
        self.samples = samples
        latent = self.from_latent.weight.shape[1]  # type: ignore[union-attr, index]
        self.from_latent = nn.Sequential(SampledDropout(dropout, int(latent), samples, seed=0), self.from_latent)
        widths = self.decoder_widths[:-1]
        self.decoder = nn.ModuleList(
            nn.Sequential(SampledDropout(dropout, width, samples, seed=k + 1), block)
            for k, (width, block) in enumerate(zip(widths, self.decoder))
        )

    def _set_sample(self, sample: int | None) -> None:
        for module in self.modules():
            if isinstance(module, SampledDropout):
                module.current = sample

    def anomaly_map(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The raw map, (N, 1, H, W).
        """
        mu, _ = self.encode(self.features(image))
        total = torch.zeros_like(image)
        for sample in range(self.samples):
            self._set_sample(sample)
            total += (image - self.decode(mu, image.shape[-2:]).sigmoid()).abs()
        self._set_sample(None)
        return total.mean(dim=1, keepdim=True) / self.samples
