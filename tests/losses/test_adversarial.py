# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from monai.networks.nets import Critic
from torch import nn

from monai_cuas.losses import AdversarialVAELoss, CriticLoss, ELBOLoss, EncodingLoss, GeneratorLoss, gradient_penalty


class _Linear(nn.Module):
    """D(x) = 3 x_0 + 4 x_1, with a gradient of length 5 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))

    def forward(self, x):
        return x.flatten(1) @ self.weight


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor(v, dtype=torch.float64).view(2, 1, 1, 2) for v in ([[1, 0], [0, 1]], [[2, 1], [0, 0]]))


def test_critic_loss_by_hand():
    fake, real = _pair()
    assert gradient_penalty(_Linear(), fake, real).item() == pytest.approx((5 - 1) ** 2)
    # D(fake) = (3, 4), D(real) = (10, 0)
    assert CriticLoss(_Linear(), penalty_weight=2.0)(fake, real).item() == pytest.approx(3.5 - 5 + 2 * 16)
    assert GeneratorLoss(_Linear())({"fake": fake}).item() == pytest.approx(-3.5)


def test_critic_loss_gradient_by_finite_differences():
    fake, real = _pair()

    def loss(weight):
        critic = _Linear()
        del critic.weight
        critic.weight = weight
        return CriticLoss(critic)(fake, real)

    assert torch.autograd.gradcheck(loss, (torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True),))


def test_penalty_of_a_nonlinear_critic_by_finite_differences():
    torch.manual_seed(0)
    critic = Critic([1, 8, 8], [2, 3], [2, 2], num_res_units=0, act="tanh", norm=None, dropout=None).double()
    point = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    slopes = []
    for k in range(64):
        step = torch.zeros(64, dtype=torch.float64).index_fill_(0, torch.tensor([k]), 1e-6).view(1, 1, 8, 8)
        slopes.append(float((critic(point + step) - critic(point - step)).sum()) / 2e-6)
    expected = (math.sqrt(sum(s**2 for s in slopes)) - 1) ** 2
    assert gradient_penalty(critic, point, point).item() == pytest.approx(expected, rel=1e-5)


class _Doubling(nn.Module):
    """Features are twice the slice; the layer after them must not count."""

    def __init__(self) -> None:
        super().__init__()
        double, last = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1)
        nn.init.constant_(double.weight, 2.0)
        self.net = nn.Sequential(double, last)


def test_izi_f_by_hand():
    preds = {"image": torch.tensor([[0.5, 0.5]]).view(1, 1, 1, 2), "reconstruction": torch.tensor([0.0, 100.0])}
    preds["reconstruction"] = preds["reconstruction"].view(1, 1, 1, 2)
    loss = EncodingLoss(_Doubling(), kappa=10.0)
    # one of two pixels is off by 0.5, its feature by 1
    assert loss(preds, preds["image"]).item() == pytest.approx(0.125 + 10 * 0.5)
    terms = {key: value.item() for key, value in loss.terms(preds, preds["image"]).items()}
    assert terms == pytest.approx({"reconstruction": 0.125, "kl": 0.0, "constraint": 0.5})


def test_adversarial_vae_loss_by_hand_and_its_warm_up():
    zeros = torch.zeros(1, 1, 1, 2)
    preds = {"image": zeros, "reconstruction": zeros, "mu": torch.zeros(1, 1), "log_var": torch.zeros(1, 1)}
    loss = AdversarialVAELoss(ELBOLoss("l2"), _Linear().float(), weight=2.0, warmup_epochs=1)
    # two pixels off by 0.5; D of (0.5, 0.5) is 3.5
    assert loss(preds, zeros).item() == pytest.approx(0.5 - 2 * 3.5)
    loss.set_epoch(1)
    assert loss(preds, zeros).item() == pytest.approx(0.5)
