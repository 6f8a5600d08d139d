# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_cuas.bundle import unknown_ids, write_settings
from monai_cuas.networks import load_weights, save_weights

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "cuas" / "configs"
METHODS = sorted(path.stem for path in (CONFIGS / "methods").glob("*.json"))
SMALL = {"bundle_root": str(CONFIGS.parent), "image_size": 48, "channels": [4, 8], "layers": [1, 1]}


def _parser(*files: Path, **overrides) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update({**SMALL, **overrides})
    return parser


@pytest.mark.parametrize("method", METHODS)
def test_overlay_has_known_ids_a_name_and_a_page(method):
    overlay = json.loads((CONFIGS / "methods" / f"{method}.json").read_text())
    base = json.loads((CONFIGS / "train.json").read_text())
    assert not unknown_ids([str(CONFIGS / "train.json"), str(CONFIGS / "methods" / f"{method}.json")], [])
    assert overlay["method"]
    assert overlay["output_dir"].endswith(f"/runs/{method}'")
    assert len(overlay) < len(base) / 2
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    assert f"methods/{method}.json" in page
    assert f"[{overlay['method']}]({method}.md)" in (ROOT / "docs" / "methods" / "README.md").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_settings_of_a_run_rebuild_its_network_and_inferer(method, tmp_path):
    train = _parser(CONFIGS / "train.json", CONFIGS / "methods" / f"{method}.json", output_dir=str(tmp_path))
    network = train.get_parsed_content("network_def")
    settings = train.get_parsed_content("settings")
    write_settings(tmp_path / "settings.json", settings)
    save_weights(network, tmp_path / "model.pt")
    assert not unknown_ids([str(CONFIGS / "inference.json"), str(tmp_path / "settings.json")], [])
    inference = _parser(CONFIGS / "inference.json", tmp_path / "settings.json")
    again = load_weights(inference.get_parsed_content("network_def"), tmp_path / "model.pt")
    assert type(again) is type(network)
    volume = torch.rand(1, 1, 48, 48, 2)
    with torch.no_grad():
        anomaly = inference.get_parsed_content("inferer")(volume, again.eval())
    assert anomaly.shape == volume.shape
    assert torch.isfinite(anomaly).all()
    assert inference.get_parsed_content("method") == train.get_parsed_content("method")


def test_amcons_is_the_default():
    overlay = json.loads((CONFIGS / "methods" / "amcons.json").read_text())
    base = json.loads((CONFIGS / "train.json").read_text())
    assert {key: base[key] for key in overlay} == overlay
