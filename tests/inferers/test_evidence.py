# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cuas.inferers import EvidenceInferer
from monai_cuas.networks.layers import LandmarkStandardization


class _Gain(nn.Module):
    """A map with a scale and an offset of its own."""

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.gain, self.offset, self.standardize = gain, offset, LandmarkStandardization(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x.square() + self.offset


def _inferer(**kwargs) -> EvidenceInferer:
    return EvidenceInferer(roi_size=[16, 16], spatial_dim=2, sw_batch_size=4, **kwargs)


@pytest.fixture
def volume() -> torch.Tensor:
    x = torch.rand(2, 1, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    x[:, :, :3] = 0
    return x


def test_quantiles_of_each_scan_and_background(volume):
    score = _inferer()(volume, _Gain())
    for scan, x in zip(score, volume):
        inside = scan[x > 0]
        assert abs(float(inside.median())) < 0.02
        assert abs(float(inside.quantile(0.9)) - 1) < 0.02
    assert score[volume == 0].abs().max() == 0


def test_scale_and_offset_of_the_network_do_not_matter(volume):
    torch.testing.assert_close(_inferer()(volume, _Gain(3.0, 5.0)), _inferer()(volume, _Gain()), rtol=1e-3, atol=1e-3)


def test_brightness_is_added_on_the_same_scale(volume):
    flat, dark = _inferer(brightness=2.0)(volume, _Gain(0.0)), _inferer(brightness=-1.0)(volume, _Gain(0.0))
    inside = volume > 0
    assert abs(float(flat[0][inside[0]].quantile(0.9)) - 2) < 0.05
    torch.testing.assert_close(dark, -0.5 * flat)


def test_empty_scan_gives_zeros():
    assert _inferer(brightness=1.0)(torch.zeros(1, 1, 16, 16, 2), _Gain()).abs().max() == 0
