# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoder whose training keeps the gradients of normal slices aligned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .residual import ResidualVAE

__all__ = ["GradConVAE"]


class GradConVAE(ResidualVAE):
    """
    Autoencoder with the gradient constraint of Kwon et al. (ECCV 2020), trained with ``GradConLoss``.

    The decoder's mean gradient over the training is kept with the weights. A slice whose own gradient points elsewhere
    is anomalous: the map is |x - x_hat| + beta (1 - mean over layers of cos(gradient, mean gradient)). The second part
    is one number for each slice; the paper's score is of whole images too.

    Args:
        beta: weight of the alignment in the map; 0 gives the residual alone.
        kwargs: of :class:`AttentionVAE`.
    """

    def __init__(self, *args: Any, beta: float = 0.12, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.beta = beta
        for k, weight in enumerate(self.decoder_weights()):
            self.register_buffer(f"reference_{k}", torch.zeros_like(weight))
        self.register_buffer("reference_steps", torch.zeros(()))
        self.reference_steps: torch.Tensor

    def decoder_weights(self) -> list[nn.Parameter]:
        """Weights of the decoder's convolutions."""
        parts: list[nn.Module] = [self.decoder, self.output]
        return [m.weight for part in parts for m in part.modules() if isinstance(m, nn.Conv2d)]  # type: ignore[misc]

    def _references(self) -> list[torch.Tensor]:
        return [getattr(self, f"reference_{k}") for k in range(len(self.decoder_weights()))]

    def gradients(self, loss: torch.Tensor, create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        """Gradient of a loss with respect to each of the decoder's weights."""
        return torch.autograd.grad(loss, self.decoder_weights(), create_graph=create_graph, retain_graph=True)

    def alignment(self, gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """
        Mean over layers of the cosine between gradients and their mean so far.

        Args:
            gradients: as :meth:`gradients` gives them.

        Returns:
            A scalar in [-1, 1]; 0 before the first :meth:`remember`.
        """
        pairs = zip(gradients, self._references())
        cosines = [F.cosine_similarity(g.flatten(), r.detach().clone().flatten(), dim=0) for g, r in pairs]
        return torch.stack(cosines).mean()

    @torch.no_grad()
    def remember(self, gradients: tuple[torch.Tensor, ...]) -> None:
        """Take the gradients of one more training step into the mean."""
        self.reference_steps += 1
        for gradient, reference in zip(gradients, self._references()):
            reference += (gradient.detach() - reference) / self.reference_steps

    def anomaly_map(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The raw map, (N, 1, H, W).
        """
        residual = super().anomaly_map(image)
        if not self.beta:
            return residual
        # evaluators switch autograd off, by no_grad or inference_mode; gradients are of one slice at a time
        with torch.inference_mode(False), torch.enable_grad():
            alignments = [self._slice_alignment(image[k : k + 1].clone()) for k in range(len(image))]
        return residual + self.beta * (1 - torch.stack(alignments).view(-1, 1, 1, 1))

    def _slice_alignment(self, image: torch.Tensor) -> torch.Tensor:
        mu, _ = self.encode(self.features(image))
        logits = self.decode(mu.detach(), image.shape[-2:])
        loss = F.binary_cross_entropy_with_logits(logits, image, reduction="sum")
        return self.alignment(self.gradients(loss)).detach()
