# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The score is formed before the map is resampled; the thresholds are moved so that the rates hold behind that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from scipy.ndimage import zoom

from monai_cuas.calibration.fit import calibrate
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.networks.layers import LandmarkStandardization, ScoreCalibration

RATES = (0.5, 0.1, 0.05, 0.02, 0.01, 0.005)


class _Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(1)
        self.calibration = ScoreCalibration(RATES)


class _Identity(Inferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return inputs


def _preprocessing(entry):
    """The network's grid is half as fine as the scan's."""
    image = np.random.default_rng(entry["seed"]).gamma(2.0, size=(20, 20, 12)).astype(np.float32)
    brain = torch.ones(1, 40, 40, 24, dtype=torch.uint8)
    return {**entry, "image": MetaTensor(torch.as_tensor(image)[None]), "brain_mask": MetaTensor(brain)}


def _postprocessing(item):
    fine = zoom(np.asarray(item["pred"])[0], 2, order=1)
    return {**item, "anomaly": MetaTensor(torch.as_tensor(fine)[None])}


def _rates(network: _Network, entries: list[dict]) -> dict[float, float]:
    """Share of voxels of other scans above each threshold, on the scans' own grid."""
    method = CalibratedInferer(_Identity())
    scores = []
    for entry in entries:
        item = _preprocessing(entry)
        item["pred"] = method(item["image"][None].as_tensor(), network)[0]
        scores.append(np.asarray(_postprocessing(item)["anomaly"]).ravel())
    pooled = np.concatenate(scores)
    return {rate: float((pooled >= -np.log10(rate)).mean()) for rate in RATES[2:]}


def test_rates_hold_behind_the_resampling():
    network = _Network()
    entries = [{"image": f"n{k}", "subject": f"n{k}", "seed": k} for k in range(20)]
    calibrate(network, entries[:10], _preprocessing, CalibratedInferer(_Identity()), _postprocessing)
    for rate, found in _rates(network, entries[10:]).items():
        assert found == pytest.approx(rate, rel=0.1), rate
