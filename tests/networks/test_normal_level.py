# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_cuas.networks import load_weights
from monai_cuas.networks.layers import NormalLevel
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.utils import ScanError

SMALL = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}


def test_worth_by_hand():
    level = NormalLevel()
    assert not level.knows_worth
    level.set_worth(torch.tensor([0.2, 0.4, 0.4, 0.8]), torch.tensor([0.1, 0.2, 0.3, 0.9]))
    assert level.knows_worth
    found = level.worth_of(torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.6], [0.8, 0.9, 1.0]]))
    expected = torch.tensor([[0.0, 0.05, 0.1], [0.2, 0.3, 0.6], [0.9, 0.95, 1.0]])
    torch.testing.assert_close(found, expected)
    rising = level.worth_of(torch.linspace(0, 1, 500))
    assert (rising.diff() > 0).all()


def test_a_new_worth_leaves_nothing_of_the_old():
    level = NormalLevel()
    level.set_worth(torch.linspace(0.1, 0.9, 16), torch.linspace(0.1, 0.9, 16))
    level.set_worth(torch.tensor([0.5]), torch.tensor([0.2]))
    torch.testing.assert_close(level.worth_of(torch.tensor([0.25, 0.75])), torch.tensor([0.1, 0.6]))
    with pytest.raises(ValueError, match="room for 16"):
        level.set_worth(torch.linspace(0, 1, 17), torch.linspace(0, 1, 17))
    level.set_worth(torch.empty(0), torch.empty(0))
    assert not level.knows_worth


def test_strange_is_what_lies_outside_what_is_known():
    level = NormalLevel()
    assert not level.is_strange(0.5)
    level.set_texture(0.1, 0.2)
    assert [level.is_strange(value) for value in (0.09, 0.1, 0.15, 0.2, 0.21, float("nan"))] == [
        *(True, False, False, False, True, False)
    ]


def test_weights_of_before_have_no_texture_and_still_load(tmp_path):
    state = AnomalyUNet(**SMALL).state_dict()
    state["normal_level.highest"].fill_(-3.0)
    later = [key for key in state if key.endswith((".texture", ".contrast", ".worth"))]
    assert later == ["normal_level.texture", "normal_level.contrast", "normal_level.worth"]
    torch.save({key: value for key, value in state.items() if key not in later}, tmp_path / "old.pt")
    network = load_weights(AnomalyUNet(**SMALL), tmp_path / "old.pt")
    assert float(network.normal_level.highest) == -3.0
    assert not network.normal_level.is_strange(1e9)
    assert not network.normal_level.knows_worth
    torch.save({key: value for key, value in state.items() if key != "normal_level.highest"}, tmp_path / "less.pt")
    with pytest.raises(ScanError, match=r"1 entries differ, such as normal_level\.highest"):
        load_weights(AnomalyUNet(**SMALL), tmp_path / "less.pt")
    torch.save({**state, "normal_level.later": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(ScanError, match=r"1 entries differ, such as normal_level\.later"):
        load_weights(AnomalyUNet(**SMALL), tmp_path / "more.pt")
