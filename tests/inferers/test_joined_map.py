# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cuas.inferers import JoinedMapInferer, join_p_values
from monai_cuas.networks.layers import LandmarkStandardization, SourceScale


class _Gain(nn.Module):
    """A map with a scale and an offset of its own."""

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.gain, self.offset, self.standardize = gain, offset, LandmarkStandardization(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x.square() + self.offset


def _inferer(**kwargs) -> JoinedMapInferer:
    return JoinedMapInferer(roi_size=[16, 16], spatial_dim=2, sw_batch_size=4, **kwargs)


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


def test_without_a_scale_of_its_own_the_scan_keeps_the_networks_scale(volume):
    plain = _inferer(normalize_map_per_scan=False)(volume, _Gain(3.0, 5.0))
    inside = volume > 0
    torch.testing.assert_close(plain[inside], 3.0 * volume[inside].square() + 5.0)
    assert plain[~inside].abs().max() == 0


def test_brightness_is_a_weight_on_the_same_scale(volume):
    flat, dark = _inferer(intensity_weight=2.0)(volume, _Gain(0.0)), _inferer(intensity_weight=-1.0)(volume, _Gain(0.0))
    inside = volume > 0
    for score, expected in ((flat, 2 / 3), (dark, 1 / 2)):
        assert abs(float(score[0][inside[0]].quantile(0.9)) - expected) < 0.05
    assert score_order(flat, volume) > 0.99
    assert score_order(dark, volume) < -0.99


def score_order(score: torch.Tensor, volume: torch.Tensor) -> float:
    """Correlation with the intensity."""
    inside = volume[0] > 0
    return float(torch.corrcoef(torch.stack([score[0][inside], volume[0][inside]]))[0, 1])


def test_flip_makes_the_map_blind_to_the_side(volume):
    class _Sided(_Gain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.linspace(0, 1, x.shape[-2])[:, None]

    inferer = _inferer(flip=True)
    torch.testing.assert_close(inferer(volume.flip(2), _Sided()).flip(2), inferer(volume, _Sided()))
    one_way = _inferer()
    assert (one_way(volume.flip(2), _Sided()).flip(2) - one_way(volume, _Sided())).abs().max() > 0.1


def test_smoothing_lowers_noise_and_does_not_draw_in_the_background(volume):
    constant = torch.where(volume > 0, 0.5, 0.0)
    network = _Gain()
    smooth = _inferer(smoothing=(0.7, 0.7, 1.5))
    # a constant stays constant up to the brain's edge: nothing of the background's zeros is mixed in
    flat = smooth.smooth(constant, constant > 0)
    torch.testing.assert_close(flat[constant > 0], constant[constant > 0], rtol=1e-4, atol=1e-5)
    assert flat[constant == 0].abs().max() == 0
    rough = _inferer().smooth(volume, volume > 0)
    assert smooth.smooth(volume, volume > 0)[volume > 0].std() < 0.7 * rough[volume > 0].std()
    assert torch.isfinite(smooth(volume, network)).all()


def test_sources_are_joined_as_p_values(volume):
    """With both scales set and power 0, the score is the mean of the two -log10 p-values, half of Fisher's."""
    network = _Gain()
    network.map_scale, network.intensity_scale = SourceScale((0.5, 0.1, 0.01)), SourceScale((0.5, 0.1, 0.01))
    network.map_scale.set_(torch.tensor([0.0, 1.0, 2.0]))
    network.intensity_scale.set_(torch.tensor([0.0, 1.0, 3.0]))
    inferer, alone = _inferer(intensity_weight=1.0), _inferer()
    inside = volume > 0
    map_source, image_source = alone.map_source(volume, network), alone.intensity_source(volume, network)
    expected = 0.5 * (network.map_scale(map_source) + network.intensity_scale(image_source))
    torch.testing.assert_close(inferer(volume, network)[inside], expected[inside])
    assert inferer(volume, network)[~inside].abs().max() == 0
    # one voxel in ten of the scan reaches a map score of 1
    assert abs(float(alone(volume, network)[0][inside[0]].quantile(0.9)) - 1.0) < 0.05


def test_power_mean_of_p_values():
    p = torch.tensor([[0.5, 0.01, 1e-30], [0.5, 1.0, 0.2]], dtype=torch.float64)
    scores, weights = [-row.log10() for row in p], [1.0, 3.0]
    share = torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    for power in (-0.5, -1.0, -3.0):
        mean = (share * p**power).sum(dim=0) ** (1 / power)
        torch.testing.assert_close(join_p_values(scores, weights, power), -mean.log10())
    geometric = (share * p.log10()).sum(dim=0)
    torch.testing.assert_close(join_p_values(scores, weights, 0.0), -geometric)
    torch.testing.assert_close(join_p_values(scores, weights, -1e-7), -geometric, rtol=1e-4, atol=1e-4)


def test_one_sure_source_counts_more_the_lower_the_power():
    one_sure, both_a_little = torch.tensor([6.0, 0.3]), torch.tensor([3.4, 3.4])
    ranks = {
        power: join_p_values(list(torch.stack([one_sure, both_a_little], dim=1)), [1, 1], power) for power in (0, -1)
    }
    assert ranks[0][0] < ranks[0][1]
    assert ranks[-1][0] > ranks[-1][1]


def test_no_score_stays_none_and_huge_ones_stay_finite():
    nothing = torch.zeros(4)
    assert join_p_values([nothing, nothing], [1.0, 1.0], -0.5).abs().max() < 1e-6
    assert torch.isfinite(join_p_values([nothing + 1e4, nothing], [1.0, 1.0], -0.5)).all()


@pytest.mark.parametrize("power", [0.5, float("nan"), float("-inf")])
def test_bad_power(power):
    with pytest.raises(ValueError, match="power"):
        _inferer(joining_power=power)
    with pytest.raises(ValueError, match="power"):
        join_p_values([torch.zeros(1)], [1.0], power)


@pytest.mark.parametrize("smoothing", [-1.0, (1.0, 1.0), (1.0, -1.0, 0.0)])
def test_bad_smoothing(smoothing):
    with pytest.raises(ValueError, match="smoothing"):
        _inferer(smoothing=smoothing)


def test_empty_scan_gives_zeros():
    assert _inferer(intensity_weight=1.0, smoothing=1.0)(torch.zeros(1, 1, 16, 16, 2), _Gain()).abs().max() == 0
