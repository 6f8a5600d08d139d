# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_cuas.inferers import (
    BrainSmoothing,
    JoinedMapInferer,
    StandardizedIntensityInferer,
    depth_contrast_of,
    texture_of,
)
from monai_cuas.networks.layers import DEFAULT_LEVELS, LandmarkStandardization, NormalLevel
from monai_cuas.utils import collected_notes


class _Gain(nn.Module):
    """A logit that grows with the intensity, and a side that it prefers."""

    def __init__(self, gain: float = 4.0, offset: float = -2.0, lean: float = 0.0) -> None:
        super().__init__()
        self.gain, self.offset, self.lean = gain, offset, lean
        self.standardize, self.normal_level = LandmarkStandardization(1), NormalLevel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.linspace(-1, 1, x.shape[2]).view(1, 1, -1, 1)
        return self.gain * x + self.offset + self.lean * place


def _inferer(**kwargs) -> JoinedMapInferer:
    return JoinedMapInferer(roi_size=[16, 16], spatial_dim=2, sw_batch_size=4, **kwargs)


@pytest.fixture
def volume() -> torch.Tensor:
    x = torch.rand(2, 1, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    x[:, :, :3] = 0
    return x


def test_the_product_by_hand(volume):
    inside = volume > 0
    p = (4 * volume - 2).sigmoid()
    for weights, expected in (
        ((0.5, 0.0), p**0.5),
        ((0.25, 1.0), p**0.25 * volume),
        ((1.0, -2.0), p * (1 - volume) ** 2),
    ):
        score = _inferer(map_weight=weights[0], intensity_weight=weights[1])(volume, _Gain())
        torch.testing.assert_close(score[inside], expected[inside], rtol=1e-4, atol=1e-6)
        assert score[~inside].abs().max() == 0


def test_what_is_darker_than_usual_is_not_punished_for_it(volume):
    network = _Gain(gain=0.0)
    network.standardize.fit((100 * torch.tensor(DEFAULT_LEVELS)).view(1, 1, -1))
    usual = network.standardize.median
    image = network.standardize(volume)
    inside = volume > 0
    bright = _inferer(intensity_weight=1.0)(volume, network)
    assert bright[inside & (image < usual)].std() < 1e-5
    ratio = bright[inside & (image > usual)] / image[inside & (image > usual)]
    assert ratio.std() < 1e-5
    dark = _inferer(intensity_weight=-1.0)(volume, network)
    assert dark[inside & (image > usual)].std() < 1e-5
    assert dark[inside & (image < usual)].std() > 1e-3


def test_no_other_voxel_of_the_scan_matters(volume):
    """A lesion of a third of the brain is marked as one of a voxel is: there is no scale of the scan's own."""
    small, large = volume.clone(), volume.clone()
    small[0, 0, 10, 10, 1] = 0.95
    large[0, 0, 10:16, 4:16, :] = 0.95
    network = _Gain()
    network.normal_level.set_level(-0.1)
    first, second = (_inferer(intensity_weight=1.0)(x, network)[0, 0, 10, 10, 1] for x in (small, large))
    torch.testing.assert_close(first, second)


def test_a_network_that_is_alarmed_everywhere_counts_less_and_scans_stay_comparable(volume):
    inside, one = volume > 0, _inferer(map_weight=1.0)
    levels = []
    for offset in (-2.0, -1.0, 3.0, 9.0):
        network = _Gain(offset=offset)
        log_p = one.log_probability(volume, network)
        network.normal_level.set_level(float(_level(volume[0], -2.0)))
        with collected_notes() as notes:
            score = one(volume, network)[0][inside[0]].log()
        assert len(notes) == (len(volume) if offset > -2.0 else 0)  # one of each scan
        median = log_p[0][inside[0]].median()
        highest = network.normal_level.highest
        if offset == -2.0:
            torch.testing.assert_close(score, log_p[0][inside[0]], rtol=1e-4, atol=1e-4)
        else:
            expected = highest + torch.exp(highest - median) * (log_p[0][inside[0]] - median)
            torch.testing.assert_close(score, expected.float(), rtol=1e-3, atol=1e-4)
        levels.append(float(score.median()))
    assert max(levels) - min(levels) < 1e-3  # a scan that is doubted is no more suspicious as a whole
    assert float(score.std()) < 0.02 * float(_log_p(volume[0], -2.0)[inside[0]].std())


def _log_p(x: torch.Tensor, offset: float) -> torch.Tensor:
    return torch.nn.functional.logsigmoid(4 * x + offset)


def _level(x: torch.Tensor, offset: float) -> torch.Tensor:
    return _log_p(x, offset)[x > 0].median()


def test_flip_makes_the_map_blind_to_the_side(volume):
    symmetric = torch.cat([volume[:, :, :8], volume[:, :, :8].flip(2)], dim=2)
    score = _inferer(flip=True)(symmetric, _Gain(lean=3.0))
    torch.testing.assert_close(score, score.flip(2), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(*(s(symmetric, _Gain(lean=3.0)) for s in (_inferer(), _inferer(flip=True))))


def test_smoothing_is_in_millimetres_and_does_not_draw_in_the_background():
    noise = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    brain = torch.ones_like(noise, dtype=torch.bool)
    brain[:, :, :4] = False
    thin, thick = (BrainSmoothing(2.0)(noise * brain, brain, (1.0, 1.0, mm)) for mm in (1.0, 8.0))
    along = [float(s[0, 0, 8].diff(dim=1).abs().mean()) for s in (thin, thick)]
    assert along[1] > 4 * along[0]  # thick slices stay apart
    assert float(thin[brain].std()) < 0.3 * float(noise[brain].std())
    assert float(thin[0, 0, 4].mean()) == pytest.approx(0.5, abs=0.05)  # the edge is no darker
    assert thin[~brain].abs().max() == 0
    torch.testing.assert_close(BrainSmoothing(0.0)(noise, brain), noise)
    # the volume itself tells the size of its voxels
    volume = MetaTensor((noise * brain)[0], affine=torch.diag(torch.tensor([1.0, 1.0, 8.0, 1.0])))[None]
    found = StandardizedIntensityInferer(smoothing=2.0)(volume, _Gain())
    torch.testing.assert_close(found[brain], thick[brain], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "bad", [{"map_weight": 0.0}, {"map_weight": -1}, {"smoothing": -1.0}, {"smoothing": (1.0, 2.0)}]
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        _inferer(**bad)


def test_an_empty_scan_gives_zeros():
    network = _Gain()
    network.normal_level.set_level(-1.0)
    assert _inferer(intensity_weight=1.0, smoothing=1.0)(torch.zeros(1, 1, 16, 16, 2), network).abs().max() == 0


def _strange(network: _Gain, volume: torch.Tensor, factor: float = 3.0) -> _Gain:
    """The same network, whose normal scans have a texture so many times the volume's."""
    texture = texture_of(volume[:1], network)
    network.normal_level.set_texture(0.9 * factor * texture, 1.1 * factor * texture)
    network.normal_level.set_worth(torch.tensor([0.3, 0.6]), torch.tensor([0.05, 0.4]))
    return network


@pytest.mark.parametrize("factor", [3.0, 0.3])
def test_a_scan_of_another_texture_is_judged_by_its_brightness_alone(volume, factor):
    inferer, volume = _inferer(intensity_weight=1.0, smoothing=1.0), volume[:1]
    for gain in (4.0, -9.0):  # whatever the network says
        network = _strange(_Gain(gain=gain), volume, factor)
        with collected_notes() as notes:
            score = inferer(volume, network)
        inside = volume > 0
        torch.testing.assert_close(
            score[inside], network.normal_level.worth_of(inferer.intensity(volume, network))[inside]
        )
        assert score[~inside].abs().max() == 0
        assert len(notes) == 1
        assert "texture is not that of the network's normal scans" in notes[0]
        assert "brightness alone decides" in notes[0]


def test_a_scan_of_the_usual_texture_keeps_its_map(volume):
    inferer, network = _inferer(intensity_weight=1.0), _Gain()
    expected = inferer(volume, network)
    with collected_notes() as notes:
        torch.testing.assert_close(inferer(volume, _strange(network, volume, 1.0)), expected)
    assert not notes
    # one of two scans
    smooth = BrainSmoothing(2.0)(volume[1:], volume[1:] > 0)
    both = torch.cat([volume[:1], smooth])
    score = inferer(both, network)
    torch.testing.assert_close(score[:1], expected[:1])
    torch.testing.assert_close(score[1:], inferer(smooth, network))
    assert not torch.allclose(score[1:], inferer(smooth, _Gain()))


def test_where_dark_is_suspicious_darkness_decides(volume):
    inferer, network = _inferer(intensity_weight=-1.0), _strange(_Gain(), volume)
    score, inside = inferer(volume[:1], network), volume[:1] > 0
    image = network.standardize(volume[:1])
    torch.testing.assert_close(score[inside], network.normal_level.worth_of(1 - image)[inside])


@pytest.mark.parametrize("what", ["no intensity", "no worth"])
def test_with_nothing_to_give_way_to_the_map_stays_and_it_is_said(volume, what):
    inferer, network = _inferer(intensity_weight=0.0 if what == "no intensity" else 1.0), _strange(_Gain(), volume)
    if what == "no worth":
        network.normal_level.worth.fill_(float("nan"))
    with collected_notes() as notes:
        score = inferer(volume[:1], network)
    torch.testing.assert_close(score, inferer(volume[:1], _Gain()))
    assert len(notes) == 1
    assert "out of its depth, and too little or too much may be found" in notes[0]


def test_a_scan_of_another_contrast_is_noted_and_keeps_its_map(volume):
    network, inferer = _Gain(), _inferer(intensity_weight=1.0)
    usual = inferer(volume[:1], network)
    contrast = depth_contrast_of(volume[:1])
    for low, high, n in ((contrast - 0.1, contrast + 0.1, 0), (contrast + 0.1, contrast + 0.3, 1)):
        network.normal_level.set_contrast(low, high)
        with collected_notes() as notes:
            torch.testing.assert_close(inferer(volume[:1], network), usual)
        assert [("another contrast" in note) for note in notes] == [True] * n
