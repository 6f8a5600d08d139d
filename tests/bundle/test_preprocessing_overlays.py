# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One preprocessing overlay serves training and inference alike, and travels with the run's settings."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from monai_cuas.recipe import write_model

from .conftest import CONFIGS

OVERLAYS = {
    None: {"brain_extraction": "none", "window": None},
    "head_ct.json": {"brain_extraction": "head-ct", "window": [-20.0, 100.0]},
    "hd_bet.json": {"brain_extraction": "hd-bet", "window": None},
}


def _parser(base, *overlays, **ids):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / file) for file in (base, *overlays)])
    parser["device"], parser["bundle_root"] = "cpu", "."
    for key, value in ids.items():
        parser[key] = value
    return parser


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_training_and_inference_preprocess_alike(overlay, tmp_path):
    files = [] if overlay is None else [f"preprocessing/{overlay}"]
    ids = {"bias_correction": True, "registration": "icbm152", "preprocessing_cache": "kept", "in_channels": 3}
    train = _parser("train.json", *files, **ids, dataset_dir="")
    train["network_def#in_channels"] = 3
    first, slices, recipe, network = (
        train.get_parsed_content(name) for name in ("preprocessing", "train#preprocessing", "recipe", "network_def")
    )
    write_model(tmp_path / "model.pt", network, recipe)
    inference = _parser("inference.json", ckpt_path=str(tmp_path / "model.pt"), preprocessing_cache="kept")
    second = inference.get_parsed_content("preprocessing")
    assert first.parameters == second.parameters
    assert {**first.parameters, "slice_mask": True, "label_key": "label"} == slices.parameters
    assert first.preprocessing_cache == second.preprocessing_cache == slices.preprocessing_cache == "kept"
    for key, value in {**OVERLAYS[overlay], "bias_correction": True, "registration": "icbm152"}.items():
        assert first.parameters[key] == value, key
