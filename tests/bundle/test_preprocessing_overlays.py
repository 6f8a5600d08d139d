# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One preprocessing overlay serves training and inference alike, and travels with the run's settings."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

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
def test_training_and_inference_preprocess_alike(overlay):
    files = [] if overlay is None else [f"preprocessing/{overlay}"]
    ids = {"bias_correction": True, "registration": "icbm152", "preprocessing_cache": "kept", "in_channels": 3}
    train, inference = (_parser(base, *files, **ids) for base in ("train.json", "inference.json"))
    first, second, slices = (
        train.get_parsed_content("preprocessing"),
        inference.get_parsed_content("preprocessing"),
        train.get_parsed_content("train#preprocessing"),
    )
    assert first.parameters == second.parameters
    assert {**first.parameters, "slice_mask": True, "label_key": "label"} == slices.parameters
    assert first.preprocessing_cache == second.preprocessing_cache == slices.preprocessing_cache == "kept"
    for key, value in {**OVERLAYS[overlay], "bias_correction": True, "registration": "icbm152"}.items():
        assert first.parameters[key] == value, key
    # The run's settings, laid over inference.json, give the same again.
    settings = train.get_parsed_content("settings")
    again = _parser("inference.json", **{k: v for k, v in settings.items() if "#" not in k})
    assert again.get_parsed_content("preprocessing").parameters == first.parameters
