# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The presets of ``configs/paper`` compute what the authors' releases compute, today and after any refactoring."""

from __future__ import annotations

import json
import os

import pytest
import torch

from monai_cuas.bundle.overrides import missing_base, unknown_ids
from monai_cuas.inferers import ErodedSliceInferer
from monai_cuas.utils import user_message

from ..paper_numbers import CONFIGS, FIXTURE, PRESETS, numbers, preset, with_bases
from .conftest import TINY_VAE

KNOWN = json.loads(FIXTURE.read_text(encoding="utf-8"))
ENCODER = {"channels": [64, 128, 256, 512], "layers": [2, 2, 2, 2], "latent_size": 32, "latent": "dense"}
DATA = {"image_size": 224, "middle_slices": 10, "epochs": 300, "min_brain_fraction": 0.0, "learning_rate_floor": 1}
SETTINGS = {
    "amcons": {
        **{"batch_size": 8, "learning_rate": 1e-4, "kl_weight": 10.0, "constraint_weight": 0.1, "warmup_epochs": 1},
        **{"attention": "mean", "constraint#of_batch": True, "constraint#erosion": 6},
    },
    "gradcam_cons_v1": {
        **{"batch_size": 32, "learning_rate": 1e-5, "kl_weight": 1.0, "constraint_weight": 10.0, "barrier_t": 20.0},
        **{"attention": "gradcam", "constraint#p": 0.2, "barrier_t_gamma": 1.0, "elbo#reduction": "mean"},
    },
    "gradcam_cons_v2": {
        **{"batch_size": 8, "learning_rate": 1e-5, "kl_weight": 1.0, "constraint_weight": 1000.0, "warmup_epochs": 51},
        **{"attention": "mean", "constraint#p": 0.01, "barrier_t": 10.0, "barrier_t_gamma": 1.0},
    },
}


def _close(found, known, place: str) -> None:
    if isinstance(known, dict):
        assert found.keys() == known.keys(), place
        for key, value in known.items():
            _close(found[key], value, f"{place}, {key}")
        return
    assert found == pytest.approx(known, rel=1e-5, abs=1e-7), place


@pytest.mark.parametrize("name", PRESETS)
def test_the_numbers_are_those_of_the_authors_code(name):
    _close(numbers(name), KNOWN[name], name)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_are_those_of_one_release(name):
    config = preset(name, image_size=224, **{"train#dataset": None})
    if "warmup_epochs" in SETTINGS[name]:
        config["warmup_epochs"] = SETTINGS[name]["warmup_epochs"]
    raw = preset(name)
    for key, value in {**ENCODER, **DATA, **SETTINGS[name]}.items():
        if key != "warmup_epochs":
            assert config[key] == value, key
    assert (raw["amp"], raw["train#dataloader#drop_last"]) == (False, True)
    assert raw["train#dataset#middle_of"] == raw["validate#dataset#middle_of"] == "image"
    network, inferer = config.get_parsed_content("network_def"), config.get_parsed_content("map_inferer")
    assert network.stem.weight.std().item() == pytest.approx(0.082, abs=0.004)
    assert (network.align_corners, network.sizes[1]) == (True, 112)
    assert network.decoder_widths[-1] == 16
    assert 256 in network.decoder_widths
    assert isinstance(inferer, ErodedSliceInferer)
    assert inferer.erosion == 6
    assert type(config.get_parsed_content("optimizer")) is torch.optim.Adam


@pytest.mark.parametrize(("name", "epochs"), [("amcons", 1), ("gradcam_cons_v2", 51)])
def test_the_constraint_begins_behind_the_warm_up_as_the_authors_count(name, epochs):
    """``epoch > warm-up`` with epochs from 0: one epoch later than counted from 1."""
    overlay = json.loads((CONFIGS / "paper" / f"{name}.json").read_text(encoding="utf-8"))
    assert overlay["warmup_epochs"] == epochs


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_its_method_and_knows_its_ids(name):
    files = [str(CONFIGS / "train.json"), str(CONFIGS / "paper" / f"{name}.json")]
    assert missing_base(files) is not None
    whole = [files[0], *with_bases(files[1])]
    assert missing_base(whole) is None
    assert not unknown_ids(whole, [])
    assert len((CONFIGS / "paper" / f"{name}.json").read_text().splitlines()) <= 32


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_and_its_last_weights_are_kept(name, make_workflow, tmp_path):
    files = [os.path.relpath(file, CONFIGS) for file in with_bases(str(CONFIGS / "paper" / f"{name}.json"))]
    workflow = make_workflow("train.json", *files, **TINY_VAE, batch_size=2, epochs=2, image_size=64)
    before = {
        key: value.clone() for key, value in workflow.parser.get_parsed_content("network_def").state_dict().items()
    }
    workflow.run()
    state = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    last = workflow.parser.get_parsed_content("network_def").state_dict()
    assert all(torch.equal(state["model"][key], last[key]) for key in last if last[key].isfinite().all())
    assert not torch.equal(last["stem.weight"], before["stem.weight"])
    if name == "gradcam_cons_v1":
        dataset = workflow.parser.get_parsed_content("train#dataset")
        assert workflow.parser.get_parsed_content("loss").warmup_epochs == 1 + round(400 * 2 / len(dataset))


def test_fewer_slices_than_a_batch_are_no_training(make_workflow):
    files = [os.path.relpath(file, CONFIGS) for file in with_bases(str(CONFIGS / "paper" / "amcons.json"))]
    workflow = make_workflow("train.json", *files, **TINY_VAE, batch_size=500, epochs=1, image_size=64)
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert "no whole batch" in (user_message(error.value) or "")
