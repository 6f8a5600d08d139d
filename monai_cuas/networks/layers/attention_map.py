# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Attention maps of an encoder stage."""

from __future__ import annotations

import torch

__all__ = ["gradient_weighted_map", "mean_activation_map"]


def mean_activation_map(features: torch.Tensor) -> torch.Tensor:
    """
    Mean over the channels (AMCons; Silva-Rodriguez et al. 2022).

    Args:
        features: feature maps f_c of the stage, (N, C, h, w).

    Returns:
        A = mean_c f_c, (N, 1, h, w).
    """
    return features.mean(dim=1, keepdim=True)


def gradient_weighted_map(features: torch.Tensor, mu: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
    """
    Grad-CAM on the latent mean (GradCAMCons; Silva-Rodriguez et al. 2022).

    a_c is the spatial mean of d(sum_d mu_d)/d f_c; A = sigmoid(sum_c a_c f_c). The sum runs over the batch too: in
    evaluation mode samples are independent, so each gets its own gradient; with batch normalisation in training mode a
    sample's gradient holds a small part of its neighbours'.

    Args:
        features: feature maps f_c of the stage, (N, C, h, w), part of the graph of ``mu``.
        mu: latent mean, (N, ...).
        create_graph: True lets a loss on the map be differentiated again, as training needs.

    Returns:
        A in (0, 1), (N, 1, h, w).
    """
    (gradient,) = torch.autograd.grad(mu.sum(), features, create_graph=create_graph, retain_graph=True)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return torch.sigmoid((weights * features).sum(dim=1, keepdim=True))
