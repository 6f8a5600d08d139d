# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_cuas.inferers import texture_of
from monai_cuas.networks.layers import LandmarkStandardization

NETWORK = SimpleNamespace(standardize=LandmarkStandardization(1))


@pytest.fixture
def scan() -> torch.Tensor:
    """A ball of noise around a slow wave, (1, 1, 48, 48, 12)."""
    x = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (48, 48, 12)], indexing="ij"))
    noise = torch.randn(48, 48, 12, generator=torch.Generator().manual_seed(0))
    image = 0.45 + 0.1 * torch.sin(3 * x[0]) + 0.05 * noise
    return torch.where(x.norm(dim=0) < 0.9, image.clamp(0.01, 0.99), 0.0)[None, None]


def test_white_noise_by_hand():
    noise = 0.5 + 0.05 * torch.randn(1, 1, 96, 96, 8, generator=torch.Generator().manual_seed(1))
    # of x - Gx only the centre's own share, 1 / (2 pi 2^2), is missing, and the mean of many is all but constant
    spread = 0.05 * math.sqrt((1 - 1 / (8 * math.pi)) ** 2 + 1 / (16 * math.pi) - 1 / (8 * math.pi) ** 2)
    assert texture_of(noise, NETWORK) == pytest.approx(0.6745 * spread, rel=0.02)


def test_interpolated_and_noisy_scans_are_told_apart(scan):
    inside = scan[0, 0] > 0
    smooth = torch.where(inside, torch.as_tensor(gaussian_filter(scan[0, 0].numpy(), (0.8, 0.8, 0))), 0.0)[None, None]
    assert texture_of(smooth, NETWORK) < 0.6 * texture_of(scan, NETWORK)
    # slices of their own are none the smoother for lying apart
    assert texture_of(scan[..., ::2], NETWORK) == pytest.approx(texture_of(scan, NETWORK), rel=0.05)


def test_a_lesion_of_a_third_of_the_brain_moves_it_little(scan):
    sick = scan.clone()
    sick[:, :, 30:] = torch.where(scan[:, :, 30:] > 0, 0.9, 0.0)
    share = float((sick == 0.9).sum() / (scan > 0).sum())
    assert 0.25 < share < 0.35
    flat = texture_of(sick, NETWORK)
    sick[:, :, 30:] = torch.where(scan[:, :, 30:] > 0, scan[:, :, 30:] + 0.4, 0.0)
    assert texture_of(sick, NETWORK) == pytest.approx(texture_of(scan, NETWORK), rel=0.25)
    # even one that has no texture at all is none of the smooth scans above
    assert 0.6 * texture_of(scan, NETWORK) < flat < texture_of(scan, NETWORK)


def test_the_voxels_that_count(scan):
    half = scan > 0
    half[:, :, :24] = False
    loud = scan.clone()
    loud[:, :, :20] = (2 * (scan[:, :, :20] - 0.45) + 0.45).clamp(0.01, 0.99) * (scan[:, :, :20] > 0)
    assert texture_of(loud, NETWORK, half) == pytest.approx(texture_of(scan, NETWORK, half), rel=0.02)
    assert texture_of(loud, NETWORK) > 1.2 * texture_of(scan, NETWORK)
    assert math.isnan(texture_of(torch.zeros_like(scan), NETWORK))
