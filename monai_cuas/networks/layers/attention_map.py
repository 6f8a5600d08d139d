# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Attention maps of an encoder stage."""

from __future__ import annotations

import torch

__all__ = ["gradient_weighted_map", "mean_activation_map", "scaled_by_rows"]


def mean_activation_map(features: torch.Tensor) -> torch.Tensor:
    """
    Mean over the channels (AMCons; Silva-Rodriguez et al. 2022).

    Args:
        features: feature maps f_c of the stage, (N, C, h, w).

    Returns:
        A = mean_c f_c, (N, 1, h, w).
    """
    return features.mean(dim=1, keepdim=True)


def gradient_weighted_map(
    features: torch.Tensor, mu: torch.Tensor, create_graph: bool = False, sigmoid: bool = True
) -> torch.Tensor:
    """
    Grad-CAM on the latent mean (GradCAMCons; Silva-Rodriguez et al. 2022).

    a_c is the spatial mean of d(sum_d mu_d)/d f_c; A = sigmoid(sum_c a_c f_c). The sum runs over the batch too: in
    evaluation mode samples are independent, so each gets its own gradient; with batch normalisation in training mode a
    sample's gradient holds a small part of its neighbours'.

    Args:
        features: feature maps f_c of the stage, (N, C, h, w), part of the graph of ``mu``.
        mu: latent mean, (N, ...).
        create_graph: True lets a loss on the map be differentiated again, as training needs.
        sigmoid: False gives sum_c a_c f_c itself.

    Returns:
        A, (N, 1, h, w), in (0, 1) behind a sigmoid.
    """
    (gradient,) = torch.autograd.grad(mu.sum(), features, create_graph=create_graph, retain_graph=True)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    weighted = (weights * features).sum(dim=1, keepdim=True)
    return weighted.sigmoid() if sigmoid else weighted


def scaled_by_rows(attention: torch.Tensor) -> torch.Tensor:
    """
    Each slice's map from the smallest maximum of its rows (0) to its maximum (about 1), as the second release of
    Silva-Rodriguez et al. scales GradCAMCons; what is darker than every row's maximum becomes negative.

    Args:
        attention: maps, (N, 1, h, w).

    Returns:
        The scaled maps, (N, 1, h, w).
    """
    shifted = attention - (attention.amax(dim=3, keepdim=True).amin(dim=2, keepdim=True) + 1e-3)
    return shifted / (shifted.amax(dim=(2, 3), keepdim=True) + 1e-3)
