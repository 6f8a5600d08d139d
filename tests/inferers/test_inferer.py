# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.inferers import SliceInferer

from monai_cuas.inferers import CalibratedInferer, HistogramEqualizationInferer, StandardizedIntensityInferer
from monai_cuas.networks.layers import ScoreCalibration
from monai_cuas.networks.nets import AttentionVAE


@pytest.fixture
def net() -> AttentionVAE:
    torch.manual_seed(0)
    return AttentionVAE(image_size=16, channels=(4, 8), layers=(1, 1)).eval().requires_grad_(False)


@pytest.fixture
def volume() -> torch.Tensor:
    torch.manual_seed(1)
    volume = torch.rand(1, 1, 16, 16, 5) + 0.01
    volume[..., :3, :, :] = 0
    return volume


def test_map_is_the_same_whatever_the_batch_size_and_calibrated(net, volume):
    maps = [SliceInferer(roi_size=[16, 16], spatial_dim=2, sw_batch_size=n)(volume, net) for n in (1, 4)]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps[0][..., 2], net(volume[..., 2]), rtol=1e-4, atol=1e-6)
    low, high = maps[0].min(), maps[0].max()
    net.calibration.set_(torch.linspace(float(low), float(high), 11))
    scored = CalibratedInferer(SliceInferer(roi_size=[16, 16], spatial_dim=2))(volume, net)
    assert scored.max() == pytest.approx(3.0, abs=1e-3)
    raw = CalibratedInferer(SliceInferer(roi_size=[16, 16], spatial_dim=2), raw=True)(volume, net)
    torch.testing.assert_close(raw, maps[0], rtol=1e-4, atol=1e-6)


def test_own_calibration_wins(net, volume):
    own = ScoreCalibration((0.5, 0.01))
    own.set_(torch.tensor([0.0, 1.0]))
    scored = CalibratedInferer(StandardizedIntensityInferer(), own)(volume, net)
    intensity = StandardizedIntensityInferer()(volume, net)
    torch.testing.assert_close(scored, 0.30103 + intensity * (2 - 0.30103), atol=1e-4, rtol=1e-4)


def test_baselines(net, volume):
    equalized = HistogramEqualizationInferer()(volume, net)
    inside = volume > 0
    assert equalized[~inside].abs().max() == 0
    assert equalized[inside].mean() == pytest.approx(0.5, abs=0.02)
    two_sided = StandardizedIntensityInferer(two_sided=True)(volume, net)
    median = volume[inside].clamp(max=1).median()
    torch.testing.assert_close(two_sided[inside], (volume[inside].clamp(max=1) - median).abs())
    assert HistogramEqualizationInferer()(torch.zeros(1, 1, 4, 4, 2), net).abs().max() == 0
