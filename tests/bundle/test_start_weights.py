# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_cuas.bundle import start_weights
from monai_cuas.utils import CUASError

from .conftest import training_config, write_untrained

SMALL = {"image_size": 32, "features": [4, 4, 4, 4, 4, 4]}


@pytest.fixture
def start(tmp_path):
    return write_untrained(tmp_path / "start.pt", **SMALL)


def _network(**changed):
    torch.manual_seed(2)
    return training_config("synthetic_anomaly", **{**SMALL, **changed}).get_parsed_content("network_def")


def test_what_is_learnt_is_taken_and_what_is_fitted_is_not(start):
    network, before = _network(), _network().state_dict()
    start_weights(network, start)
    kept = torch.load(start, weights_only=True)["model"]
    names = {name for name, _ in network.named_parameters()}
    assert all(torch.equal(network.state_dict()[name], kept[name]) for name in names)
    assert any(not torch.equal(before[name], kept[name]) for name in names)
    assert not network.standardize.is_fitted
    assert not network.calibration.is_calibrated
    assert not torch.isnan(kept["standardize.landmarks"]).any()


def test_without_a_model_nothing_changes():
    network, before = _network(), _network().state_dict()
    start_weights(network)
    after = network.state_dict()
    assert all(torch.equal(after[name].nan_to_num(), value.nan_to_num()) for name, value in before.items())


def test_another_network_is_refused_naming_the_difference(start):
    with pytest.raises(CUASError, match=r"start\.pt: the training cannot start .* image_size 64 \(there 32\)"):
        start_weights(_network(image_size=64), start)
