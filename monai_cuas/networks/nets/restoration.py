# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Autoencoder whose map is what a restoration towards the prior of normal scans changes."""

from __future__ import annotations

from typing import Any

import torch

from .residual import ResidualVAE, input_gradient

__all__ = ["RestorationVAE", "total_variation"]


def _modulus(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Sum of |x|, rounded off below ``epsilon``."""
    return ((x.square() + epsilon**2).sqrt() - epsilon).sum()


def total_variation(x: torch.Tensor, epsilon: float = 0.0) -> torch.Tensor:
    """
    Anisotropic total variation, the sum of |differences| of neighbours along both axes.

    Args:
        x: (N, C, H, W).
        epsilon: below it the modulus is rounded off, sqrt(d^2 + epsilon^2) - epsilon.

    Returns:
        A scalar.
    """
    return _modulus(x.diff(dim=-1), epsilon) + _modulus(x.diff(dim=-2), epsilon)


class RestorationVAE(ResidualVAE):
    """
    Maximum-a-posteriori restoration (You et al., MIDL 2019): the VAE is the prior, trained as any other.

    From y, the slice, gradient descent on sum|x - x_hat(x)| + KL(x) + tv_weight * TV(y - x) leads to x, in which what
    normal scans do not show is gone. The map is |y - x|.

    Args:
        steps: gradient steps.
        step_size: of a step.
        tv_weight: weight of the total variation, which lets the change be flat and compact.
        kwargs: of :class:`AttentionVAE`.

    Raises:
        ValueError: if there is no step.
    """

    def __init__(
        self, *args: Any, steps: int = 150, step_size: float = 1e-3, tv_weight: float = 1.8, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if steps < 1 or step_size <= 0 or tv_weight < 0:
            raise ValueError(f"steps and step_size must be positive, tv_weight not negative; got {steps}, {step_size}.")
        self.steps, self.step_size, self.tv_weight = steps, step_size, tv_weight
        # with a kink at 0 the steps jump to and fro across it, and the last rounding error decides where they end
        self.epsilon = 8 * step_size * max(tv_weight, 1.0)

    def objective(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """
        What the restoration lowers, summed over the batch.

        Args:
            x: restored slices so far, (N, C, H, W).
            y: the slices as they were.
        """
        mu, log_var = self.encode(self.features(x))
        error = _modulus(x - self.decode(mu, x.shape[-2:]).sigmoid(), self.epsilon)
        kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum()
        return error + kl + self.tv_weight * total_variation(y - x, self.epsilon)

    def restore(self, y: torch.Tensor) -> torch.Tensor:
        """
        Args:
            y: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The restored slices, same shape.
        """
        # evaluators switch autograd off, by no_grad or inference_mode
        with torch.inference_mode(False), torch.enable_grad():
            target = y.clone()
            x = target.clone()
            for _ in range(self.steps):
                x.requires_grad_()
                x = (x - self.step_size * input_gradient(self.objective(x, target), x)).detach()
        return x

    def pseudo_healthy(self, image: torch.Tensor) -> torch.Tensor:
        """What the map subtracts: :meth:`restore`."""
        return self.restore(image)
