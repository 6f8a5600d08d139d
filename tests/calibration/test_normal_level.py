# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.calibration.normal_level import contrast_limits, fit_normal_level, level_limit, texture_limits
from monai_cuas.inferers import JoinedMapInferer, depth_contrast_of, texture_of
from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.utils import CUASError, ScanError

SMALL = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}
INFERER = JoinedMapInferer(roi_size=[32, 32], spatial_dim=2, sw_batch_size=4, smoothing=0.7, flip=True)


def _preprocessing(entry: dict) -> dict:
    if entry["image"] == "bad":
        raise ScanError("bad", "it is empty", "leave it out")
    volume = torch.rand(1, 32, 32, 6, generator=torch.Generator().manual_seed(entry["image"])) * 0.6 + 0.2
    volume[:, :4] = 0
    return {"image": volume}


@pytest.fixture
def network() -> AnomalyUNet:
    torch.manual_seed(0)
    return AnomalyUNet(**SMALL)


def _levels(network: AnomalyUNet, scans: list[dict]) -> list[float]:
    found = []
    for scan in scans:
        volume = _preprocessing(scan)["image"][None]
        with torch.no_grad():
            found.append(float(INFERER.log_probability(volume, network.eval())[volume > 0].median()))
    return found


def test_a_further_normal_scan_is_rarely_above_the_limit():
    rng = np.random.default_rng(0)
    above = [rng.normal(-4, 0.3) > level_limit(rng.normal(-4, 0.3, 5)) for _ in range(4000)]
    assert 0.01 < np.mean(above) < 0.04
    assert level_limit([-3.0]) == -3.0
    assert level_limit([-4.0, -3.0]) > -3.0


def test_the_level_of_the_normals_travels_with_the_weights(network, tmp_path):
    scans = [{"image": k} for k in range(4)]
    assert not network.normal_level.is_known
    fit_normal_level(network, [*scans, {"image": "bad"}], _preprocessing, INFERER)
    assert float(network.normal_level.highest) == pytest.approx(level_limit(_levels(network, scans)))
    save_weights(network, tmp_path / "model.pt")
    loaded = load_weights(AnomalyUNet(**SMALL), tmp_path / "model.pt")
    assert float(loaded.normal_level.highest) == float(network.normal_level.highest)


def test_slices_with_a_lesion_do_not_count(network):
    def labelled(sick: list[int]):
        label = MetaTensor(torch.zeros(1, 32, 32, 6))
        label[:, 20, 20, sick] = 1
        return lambda entry: {**_preprocessing(entry), "label": label}

    fit_normal_level(network, [{"image": 0}], labelled([1, 4]), INFERER)
    volume = _preprocessing({"image": 0})["image"][None]
    with torch.no_grad():
        log_p = INFERER.log_probability(volume, network)
    healthy = volume > 0
    healthy[..., [1, 4]] = False
    assert float(network.normal_level.highest) == pytest.approx(float(log_p[healthy].median()))
    with pytest.raises(CUASError, match="None of the 1 validation scans"):
        fit_normal_level(network, [{"image": 0}], labelled(list(range(6))), INFERER)


def test_no_scan_at_all_is_said(network):
    with pytest.raises(CUASError, match="None of the 1 validation scans"):
        fit_normal_level(network, [{"image": "bad"}], _preprocessing, INFERER)


def test_texture_limits_hold_as_many_scans_as_they_say():
    draw = np.random.default_rng(0)
    for n in (2, 5, 30):
        inside = []
        for _ in range(2000):
            values = np.exp(draw.normal(-4.0, 0.2, n + 1))
            low, high = texture_limits(values[:n])
            inside.append(low <= values[n] <= high)
        assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    assert all(map(math.isnan, texture_limits([0.02])))
    assert texture_limits([0.0, 0.0])[0] > 0


def test_texture_is_of_training_scans_too_and_worth_of_equal_shares(network):
    inferer = JoinedMapInferer(roi_size=[32, 32], spatial_dim=2, sw_batch_size=4, intensity_weight=1.0, smoothing=0.7)
    scans, more = [{"image": k} for k in range(3)], [{"image": k} for k in range(10, 14)]
    fit_normal_level(network, scans, _preprocessing, inferer, texture_list=[*more, {"image": "bad"}])
    volumes = [_preprocessing(scan)["image"][None] for scan in [*scans, *more]]
    textures = [texture_of(volume, network) for volume in volumes]
    assert network.normal_level.texture.tolist() == pytest.approx(texture_limits(textures))
    assert not any(map(network.normal_level.is_strange, textures))
    contrasts = [depth_contrast_of(volume) for volume in volumes]
    assert network.normal_level.contrast.tolist() == pytest.approx(contrast_limits(contrasts), nan_ok=True)
    joined, worth = [], []
    with torch.no_grad():
        for volume in volumes[:3]:
            inside = volume > 0
            joined.append(inferer(volume, network)[inside])
            worth.append(network.normal_level.worth_of(inferer.suspicion(volume, network))[inside])
    joined, worth = torch.cat(joined), torch.cat(worth)
    for rate in (0.5, 0.1, 0.05):
        threshold = joined.quantile(1 - rate)
        assert float((worth >= threshold).float().mean()) == pytest.approx(rate, rel=0.02)
    # a second fit forgets the first
    fit_normal_level(network, scans[:1], _preprocessing, inferer)
    assert torch.isnan(network.normal_level.texture).all()
