# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.calibration.normal_level import fit_normal_level
from monai_cuas.inferers import JoinedMapInferer
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


def test_the_highest_level_of_the_normals_travels_with_the_weights(network, tmp_path):
    scans = [{"image": k} for k in range(4)]
    assert not network.normal_level.is_known
    fit_normal_level(network, [*scans, {"image": "bad"}], _preprocessing, INFERER)
    assert float(network.normal_level.highest) == pytest.approx(max(_levels(network, scans)))
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
