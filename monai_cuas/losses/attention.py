# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Constraints on the attention maps of normal scans (Silva-Rodriguez et al. 2022, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["AttentionEntropyLoss", "AttentionSizeLoss", "ExtendedLogBarrier", "attention_entropy", "eroded"]


def attention_entropy(attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """
    Shannon entropy of the softmax of the attention over brain pixels.

    Args:
        attention: (N, 1, H, W).
        mask: brain mask of the same shape.

    Returns:
        (N,), at most log(n) for n brain pixels, reached by a flat map; 0 for a slice without brain.
    """
    inside = mask.flatten(1) > 0
    logits = attention.flatten(1).float().masked_fill(~inside, -torch.inf)
    # a slice without brain has no distribution: give it a harmless one, and no part in the sum
    logits = torch.where(inside.any(dim=1, keepdim=True), logits, 0.0)
    log_q = logits.log_softmax(dim=1)
    return -torch.where(inside, log_q.exp() * log_q.masked_fill(~inside, 0.0), 0.0).sum(dim=1)


def eroded(mask: torch.Tensor, side: int) -> torch.Tensor:
    """
    Binary erosion of each slice by a square, as ``scipy.ndimage.binary_erosion`` does it: of an even side the square
    reaches one pixel further to the low indices, and what lies outside the slice counts as background.

    Args:
        mask: (N, 1, H, W), inside where positive.
        side: of the square in pixels; 0 and 1 leave the mask as it is.

    Returns:
        Booleans of the same shape.

    Raises:
        ValueError: if the side is negative.
    """
    if side < 0:
        raise ValueError(f"the side of the square must not be negative, got {side}.")
    if side < 2:
        return mask > 0
    low, high = side // 2, side - 1 - side // 2
    outside = F.pad((mask <= 0).float(), (low, high, low, high), value=1.0)
    return F.max_pool2d(outside, side, stride=1) < 0.5


class AttentionEntropyLoss(nn.Module):
    """
    AMCons: minus the entropy of the attention over brain pixels, so that minimising it raises the entropy.

    Args:
        of_batch: True takes the pixels that are brain in any slice of the batch for all its slices, as the authors'
            code does, in place of each slice's own.
        erosion: side in pixels of the square by which these pixels are eroded, 6 there; 0: not.

    Raises:
        ValueError: if ``erosion`` is negative.
    """

    def __init__(self, of_batch: bool = False, erosion: int = 0) -> None:
        super().__init__()
        if erosion < 0:
            raise ValueError(f"erosion must be a side in pixels or 0, got {erosion}.")
        self.of_batch, self.erosion = of_batch, erosion

    def forward(self, attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the batch's mean of -H; the arguments are those of :func:`attention_entropy`."""
        if self.of_batch:
            mask = (mask > 0).any(dim=0, keepdim=True).expand_as(mask).float()
        return -attention_entropy(attention, eroded(mask, self.erosion)).mean()


class ExtendedLogBarrier(nn.Module):
    """
    psi_t(z) = -log(-z)/t for z <= -1/t^2, else t z - log(1/t^2)/t + 1/t (Kervadec et al. 2019).

    Args:
        t: sharpness; may be raised during training.

    Raises:
        ValueError: if t is not positive.
    """

    def __init__(self, t: float = 10.0) -> None:
        super().__init__()
        self.set_t(t)

    def set_t(self, t: float) -> None:
        """Set the sharpness, as a schedule does; ValueError if it is not positive."""
        if t <= 0:
            raise ValueError(f"t must be positive, got {t}.")
        self.t = t

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return psi_t of each element; z <= 0 is feasible."""
        bound = -1 / self.t**2
        barrier = -torch.log(-z.clamp(max=bound)) / self.t
        linear = self.t * z - math.log(1 / self.t**2) / self.t + 1 / self.t
        return torch.where(z <= bound, barrier, linear)


class AttentionSizeLoss(nn.Module):
    """
    GradCAMCons: penalty on z = 1 - p - mean(A) of each slice, the mean over brain pixels.

    Args:
        p: part of the brain that attention may leave out, in [0, 1).
        penalty: "barrier" (inequality), "l1" or "l2" (equality ablations), or a callable on z.
        t: of the barrier, in the first epoch with the constraint.
        t_gamma: factor by which t grows from epoch to epoch; the loss tells the epoch by :meth:`set_epoch`.
        sigmoid: take the sigmoid of the attention first, as a mean activation needs it, which is in no range.
        whole_slice: the mean over all pixels of a slice, background too, as the authors' code takes it.

    Raises:
        ValueError: for an unknown penalty or p.
    """

    def __init__(
        self,
        p: float = 0.2,
        penalty: str | Callable = "barrier",
        t: float = 10.0,
        t_gamma: float = 1.0,
        sigmoid: bool = False,
        whole_slice: bool = False,
    ) -> None:
        super().__init__()
        known: dict[str, Callable] = {"barrier": ExtendedLogBarrier(t), "l1": torch.abs, "l2": torch.square}
        if not 0 <= p < 1 or (isinstance(penalty, str) and penalty not in known):
            raise ValueError(f"p must be in [0, 1) and penalty one of {list(known)}, got {p} and {penalty}.")
        self.p, self.penalty = p, known[penalty] if isinstance(penalty, str) else penalty
        self.sigmoid, self.first_t, self.t_gamma = sigmoid, t, t_gamma
        self.whole_slice = whole_slice

    def set_epoch(self, epoch: int) -> None:
        """Tell how many epochs with the constraint have passed; before the first of them it is 0 too."""
        self.set_t(self.first_t * self.t_gamma ** max(0, epoch))

    def set_t(self, t: float) -> None:
        """Set the barrier's sharpness, as a schedule does; the other penalties have none."""
        if isinstance(self.penalty, ExtendedLogBarrier):
            self.penalty.set_t(t)

    def forward(self, attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            attention: (N, 1, H, W), in [0, 1] unless ``sigmoid``.
            mask: brain mask of the same shape; a slice without brain counts as 0.

        Returns:
            Mean over the batch.
        """
        attention = attention.float().sigmoid() if self.sigmoid else attention.float()
        inside = torch.ones_like(attention) if self.whole_slice else (mask > 0).float()
        n = inside.sum(dim=(1, 2, 3))
        mean = (attention * inside).sum(dim=(1, 2, 3)) / n.clamp(min=1)
        # a slice without brain has no attention to measure
        return torch.where(n > 0, self.penalty(1 - self.p - mean), 0.0).mean()
