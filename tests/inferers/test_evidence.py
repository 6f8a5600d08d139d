# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cuas.inferers import EvidenceInferer
from monai_cuas.networks.layers import EvidenceScale, LandmarkStandardization


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


def test_without_a_scale_of_its_own_the_scan_keeps_the_networks_scale(volume):
    plain = _inferer(scan_scale=False)(volume, _Gain(3.0, 5.0))
    inside = volume > 0
    torch.testing.assert_close(plain[inside], 3.0 * volume[inside].square() + 5.0)
    assert plain[~inside].abs().max() == 0


def test_brightness_is_added_on_the_same_scale(volume):
    flat, dark = _inferer(brightness=2.0)(volume, _Gain(0.0)), _inferer(brightness=-1.0)(volume, _Gain(0.0))
    inside = volume > 0
    for score, expected in ((flat, 2.0), (dark, 1.0)):
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


def test_evidence_is_joined_as_p_values(volume):
    """Fisher's statistic: with both scales set, the score is the sum of the two -log10 p-values."""
    network = _Gain()
    network.map_scale, network.intensity_scale = EvidenceScale((0.5, 0.1, 0.01)), EvidenceScale((0.5, 0.1, 0.01))
    network.map_scale.set_(torch.tensor([0.0, 1.0, 2.0]))
    network.intensity_scale.set_(torch.tensor([0.0, 1.0, 3.0]))
    inferer, alone = _inferer(brightness=1.0), _inferer()
    inside = volume > 0
    map_source, image_source = alone.map_source(volume, network), alone.intensity_source(volume, network)
    expected = network.map_scale(map_source) + network.intensity_scale(image_source)
    torch.testing.assert_close(inferer(volume, network)[inside], expected[inside])
    assert inferer(volume, network)[~inside].abs().max() == 0
    # one voxel in ten of the scan reaches a map score of 1
    assert abs(float(alone(volume, network)[0][inside[0]].quantile(0.9)) - 1.0) < 0.05


@pytest.mark.parametrize("smoothing", [-1.0, (1.0, 1.0), (1.0, -1.0, 0.0)])
def test_bad_smoothing(smoothing):
    with pytest.raises(ValueError, match="smoothing"):
        _inferer(smoothing=smoothing)


def test_empty_scan_gives_zeros():
    assert _inferer(brightness=1.0, smoothing=1.0)(torch.zeros(1, 1, 16, 16, 2), _Gain()).abs().max() == 0
