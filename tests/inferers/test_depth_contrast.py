# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.inferers import depth_contrast_of


@pytest.fixture
def ball() -> torch.Tensor:
    """A ball of radius 20, (1, 1, 48, 48, 48), 0.3 at its rim and 0.6 in its depth."""
    x = torch.stack(torch.meshgrid(*[torch.arange(48.0) - 23.5] * 3, indexing="ij")).norm(dim=0)
    return torch.where(x < 20, torch.where(x < 15, 0.6, 0.3), 0.0)[None, None]


def test_bright_depth_and_dark_depth(ball):
    assert depth_contrast_of(ball) == pytest.approx(0.3)
    assert depth_contrast_of(torch.where(ball > 0, 0.9 - ball, 0.0)) == pytest.approx(-0.3)


def test_depth_is_in_millimetres(ball):
    thick = ball[..., ::4]
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
    assert depth_contrast_of(MetaTensor(thick, affine=affine)) == pytest.approx(0.3)


def test_a_lesion_of_a_sixth_of_the_brain_does_not_move_it(ball):
    sick = ball.clone()
    sick[:, :, 32:] = torch.where(ball[:, :, 32:] > 0, 0.99, 0.0)
    assert 0.15 < float((sick == 0.99).sum() / (ball > 0).sum()) < 0.25
    assert depth_contrast_of(sick) == pytest.approx(0.3)


def test_only_what_counts(ball):
    counts = ball > 0
    counts[:, :, :24] = False
    odd = ball.clone()
    odd[:, :, :24] = torch.where(ball[:, :, :24] > 0, 0.9 - ball[:, :, :24], 0.0)
    assert depth_contrast_of(odd, counts) == pytest.approx(0.3)
    assert math.isnan(depth_contrast_of(ball, torch.zeros_like(counts)))


def test_nothing_to_measure(ball):
    assert math.isnan(depth_contrast_of(torch.zeros_like(ball)))
    speck = torch.zeros_like(ball)
    speck[..., 24] = 0.5 * (ball[..., 24] > 0)
    assert not depth_contrast_of(speck) > 0.1
