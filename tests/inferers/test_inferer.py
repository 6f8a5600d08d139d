# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer

from monai_cuas.inferers import (
    CalibratedInferer,
    HistogramEqualizationInferer,
    StandardizedIntensityInferer,
    VolumeScaledInferer,
)
from monai_cuas.networks.layers import LandmarkStandardization, ScoreCalibration


class _Network(torch.nn.Module):
    """The map is the first channel."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(channels)
        self.calibration = ScoreCalibration((0.1, 0.01))

    def forward(self, x):
        return x[:, :1]


def _volume(channels: int = 1) -> torch.Tensor:
    volume = torch.rand(1, channels, 8, 8, 5, generator=torch.Generator().manual_seed(0))
    volume[..., 0] = 0
    return volume


def test_score_is_minus_log10_of_the_healthy_rate():
    network = _Network()
    network.calibration.set_(torch.tensor([1.0, 2.0]))
    inferer = CalibratedInferer(SliceInferer(roi_size=[8, 8], spatial_dim=2, sw_batch_size=2))
    inputs = torch.full((1, 1, 8, 8, 5), 1.5)
    torch.testing.assert_close(inferer(inputs, network), inputs)
    torch.testing.assert_close(inferer(inputs * 2, network), inputs * 2)  # linear beyond the last threshold
    assert inferer(inputs * 0, network).eq(0).all()
    inferer.raw = True
    assert inferer(inputs * 0.5, network).eq(0.75).all()


@pytest.mark.parametrize("wrapped", ["plain", "parallel", "scripted"])
def test_calibration_comes_with_the_network(wrapped):
    network = _Network().eval()
    network.calibration.set_(torch.tensor([1.0, 3.0]))
    if wrapped == "parallel":
        network = torch.nn.DataParallel(network)
    elif wrapped == "scripted":
        network = torch.jit.script(network)
    inferer = CalibratedInferer(SliceInferer(roi_size=[8, 8], spatial_dim=2))
    assert float(inferer(torch.full((1, 1, 8, 8, 2), 3.0), network).mean()) == pytest.approx(2.0)


def test_own_calibration_wins():
    network, own = _Network(), ScoreCalibration((0.1, 0.01))
    network.calibration.set_(torch.tensor([1.0, 2.0]))
    own.set_(torch.tensor([10.0, 20.0]))
    got = CalibratedInferer(StandardizedIntensityInferer(), own)(torch.ones(1, 1, 4, 4, 4), network)
    assert float(got.max()) < 1  # 1.0 lies below the lowest threshold


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["intensity", "two-sided", "equalised"])
@pytest.mark.parametrize("meta", [False, True])
def test_baselines_keep_shape_and_background(channels, kind, meta):
    inferer = {
        "intensity": StandardizedIntensityInferer(),
        "two-sided": StandardizedIntensityInferer(two_sided=True),
        "equalised": HistogramEqualizationInferer(),
    }[kind]
    volume = _volume(channels)
    got = inferer(MetaTensor(volume) if meta else volume, _Network(channels))
    assert got.shape == (1, 1, 8, 8, 5)
    assert got[..., 0].eq(0).all()
    assert 0 <= float(got.min()) < float(got.max()) <= 1


def test_channel_mean_and_distance_from_the_median():
    volume = torch.zeros(1, 1, 2, 2, 2)
    volume[0, 0, :, :, 0] = torch.tensor([[0.2, 0.5], [0.6, 0.5]])
    got = StandardizedIntensityInferer(two_sided=True)(volume, _Network())
    torch.testing.assert_close(got[0, 0, :, :, 0], torch.tensor([[0.3, 0.0], [0.1, 0.0]]))
    both = torch.cat([volume, volume * 0.5], dim=1)
    torch.testing.assert_close(StandardizedIntensityInferer()(both, _Network(2)), volume * 0.75)


def test_equalisation_is_monotone_and_flattens_the_histogram():
    volume = _volume() ** 4
    got = HistogramEqualizationInferer()(volume, _Network())
    brain = volume > 0
    order = volume[brain].argsort()
    assert (got[brain][order].diff() >= -1e-6).all()
    assert float(got[brain].mean()) == pytest.approx(0.5, abs=0.05)


def test_empty_volume_gives_zeros():
    empty = torch.zeros(1, 1, 4, 4, 4)
    for inferer in (HistogramEqualizationInferer(), StandardizedIntensityInferer(two_sided=True)):
        assert inferer(empty, _Network()).eq(0).all()


def test_volume_scale_keeps_slices_comparable():
    volume = _volume()
    volume[..., 1] *= 0.5
    inferer = VolumeScaledInferer(roi_size=[8, 8], spatial_dim=2)
    got = inferer(volume, lambda x: 7 * x - 3)
    brain = volume > 0
    low, high = volume[brain].min(), volume[brain].max()
    torch.testing.assert_close(got[brain], ((volume - low) / (high - low))[brain], rtol=1e-4, atol=1e-5)
    assert got[~brain].eq(0).all()
    assert float(got[..., 1].max()) < 0.6
    assert inferer(volume, torch.ones_like).eq(0).all()


def test_median_within_slices():
    volume = torch.full((1, 1, 9, 9, 3), 0.5)
    volume[0, 0, 4, 4, 1] = 1.0  # a speck
    volume[..., 2] = 0.9
    volume[:, :, 0] = 0
    found = StandardizedIntensityInferer(median=3)(volume, _Network())
    assert found[0, 0, 4, 4, 1] == found[0, 0, 4, 5, 1]
    assert found[0, 0, 4, 4, 2] > found[0, 0, 4, 4, 1]  # slices stay apart
    assert found[:, :, 0].abs().max() == 0
    with pytest.raises(ValueError, match="median must be odd"):
        StandardizedIntensityInferer(median=4)
