# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.calibration.sources import fit_source_scales
from monai_cuas.inferers import JoinedMapInferer
from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.utils import CUASError, ScanError

SMALL = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}


def _preprocessing(entry: dict) -> dict:
    if entry["image"] == "bad":
        raise ScanError("bad", "it is empty", "leave it out")
    volume = torch.rand(1, 32, 32, 6, generator=torch.Generator().manual_seed(entry["image"])) * 0.6 + 0.2
    volume[:, :4] = 0
    return {"image": volume}


def _inferer(**kwargs) -> JoinedMapInferer:
    return JoinedMapInferer(roi_size=[32, 32], spatial_dim=2, sw_batch_size=4, smoothing=0.7, flip=True, **kwargs)


@pytest.fixture
def network() -> AnomalyUNet:
    torch.manual_seed(0)
    return AnomalyUNet(**SMALL)


def test_p_values_hold_on_other_normals_and_travel_with_the_weights(network, tmp_path):
    scans = [{"image": k} for k in range(6)]
    fit_source_scales(network, [*scans, {"image": "bad"}], _preprocessing, _inferer())
    volume = _preprocessing({"image": 99})["image"][None]
    inside = volume > 0
    with torch.no_grad():
        score = _inferer()(volume, network)[inside]
    for rate in (0.1, 0.05):
        assert float((score >= -torch.log10(torch.tensor(rate))).float().mean()) == pytest.approx(rate, rel=0.35)
    save_weights(network, tmp_path / "model.pt")
    loaded = load_weights(AnomalyUNet(**SMALL), tmp_path / "model.pt").eval()
    with torch.no_grad():
        first, second = (_inferer(intensity_weight=1.0)(volume, net) for net in (network, loaded))
    torch.testing.assert_close(first, second)


def test_rates_that_too_few_voxels_support_stay_unknown(network):
    fit_source_scales(network, [{"image": 0}], _preprocessing, _inferer())
    known = ~torch.isnan(network.map_scale.thresholds)
    n = int((_preprocessing({"image": 0})["image"] > 0).sum())
    assert torch.equal(known, network.map_scale.rates * n >= 20)
    assert not known.all()


def _labelled(sick: list[int]):
    """Preprocessing that gives a lesion in some slices."""
    label = MetaTensor(torch.zeros(1, 32, 32, 6))
    label[:, 20, 20, sick] = 1

    def preprocessing(entry: dict) -> dict:
        return {**_preprocessing(entry), "label": label}

    return preprocessing


def test_slices_with_a_lesion_do_not_count(network):
    inferer = JoinedMapInferer(roi_size=[32, 32], spatial_dim=2, sw_batch_size=4)
    fit_source_scales(network, [{"image": 0}], _labelled([1, 4]), inferer)
    volume = _preprocessing({"image": 0})["image"][None]
    with torch.no_grad():
        source = inferer.map_source(volume, network)
    kept = [0, 2, 3, 5]
    values = source[..., kept][volume[..., kept] > 0].numpy()
    known = ~torch.isnan(network.map_scale.thresholds)
    expected = np.quantile(values, 1 - network.map_scale.rates[known].numpy())
    np.testing.assert_allclose(network.map_scale.thresholds[known].numpy(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(CUASError, match="None of the 1"):
        fit_source_scales(network, [{"image": 0}], _labelled(list(range(6))), inferer)


def test_no_usable_scan(network):
    with pytest.raises(CUASError, match="None of the 1"):
        fit_source_scales(network, [{"image": "bad"}], _preprocessing, _inferer())
