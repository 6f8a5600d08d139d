# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
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
SMALL = {
    **{"bundle_root": str(CONFIGS.parent), "image_size": 48, "channels": [4, 8], "layers": [1, 1]},
    "features": [4, 4, 8, 8, 8, 4],
}


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


def test_synthetic_anomalies_are_the_default():
    overlay = json.loads((CONFIGS / "methods" / "synthetic_anomaly.json").read_text())
    base = json.loads((CONFIGS / "train.json").read_text())
    assert {key: base[key] for key in overlay} == overlay
    inference = json.loads((CONFIGS / "inference.json").read_text())
    shared = base.keys() & inference.keys() - {"imports", "run", "initialize", "handlers", "preprocessing"}
    differ = {key for key in shared if base[key] != inference[key]}
    # training alone alters slices; bundle and output folders are found in other ways
    assert differ == {"network_def", "bundle_root", "dataset_dir", "output_dir"}
    for key in ("anomaly", "variation", "cpu_bfloat16"):
        del base["network_def"][key]
    assert base["network_def"] == inference["network_def"]


# The methods as they were before the default was another one than AMCons: network, digest of the names and shapes of
# its weights, inferer of the map; of those that are trained: loss, its weight, constraint, kl_weight, warm-up, learning
# rate.
SIZE_LOSS = ("ConstrainedVAELoss", 1000.0, "AttentionSizeLoss", 1.0, 1, 1e-05)
VAE_LOSS = ("ConstrainedVAELoss", 0.1, None, 1.0, 0, 0.0001)
UNCHANGED = {
    "ae": ("ResidualAE", "ab5aeed1", "SliceInferer", ("ConstrainedVAELoss", 0.1, None, 0.0, 0, 0.0001)),
    "amcons": (
        "AttentionVAE",
        "ab5aeed1",
        "SliceInferer",
        ("ConstrainedVAELoss", 0.1, "AttentionEntropyLoss", 10.0, 0, 0.0001),
    ),
    "ano_vae_gan": ("ResidualVAE", "ab5aeed1", "SliceInferer", ("AdversarialVAELoss", 1.0, None, 1.0, 0, 0.0001)),
    "attention_expansion": ("AttentionVAE", "ab5aeed1", "VolumeScaledInferer", SIZE_LOSS),
    "bayesian_vae": ("BayesianVAE", "49f36c19", "SliceInferer", VAE_LOSS),
    "ce_vae": ("ContextEncodingVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
    "context_vae": ("ContextVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
    "equality_l1": ("AttentionVAE", "ab5aeed1", "VolumeScaledInferer", SIZE_LOSS),
    "equality_l2": ("AttentionVAE", "ab5aeed1", "VolumeScaledInferer", SIZE_LOSS),
    "f_ano_gan": ("ResidualAE", "ab5aeed1", "SliceInferer", ("EncodingLoss", 1.0, None, 1.0, 0, 0.0001)),
    "gradcam_cons": ("AttentionVAE", "ab5aeed1", "VolumeScaledInferer", SIZE_LOSS),
    "gradcam_cons_mean": ("AttentionVAE", "ab5aeed1", "VolumeScaledInferer", SIZE_LOSS),
    "gradcon": ("GradConVAE", "953f264c", "SliceInferer", ("GradConLoss", 276.48, None, 1.0, 0, 0.0001)),
    "histogram_equalization": ("AttentionVAE", "ab5aeed1", "HistogramEqualizationInferer", None),
    "padim": ("PaDiM", "dd7ffc95", "SliceInferer", VAE_LOSS),
    "patchcore": ("PatchCore", "5d77a5df", "SliceInferer", VAE_LOSS),
    "raw_intensity": ("AttentionVAE", "ab5aeed1", "StandardizedIntensityInferer", None),
    "raw_intensity_two_sided": ("AttentionVAE", "ab5aeed1", "StandardizedIntensityInferer", None),
    "raw_intensity_smoothed": ("AttentionVAE", "ab5aeed1", "StandardizedIntensityInferer", None),
    "restoration_vae": ("RestorationVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
    "vae": ("ResidualVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
}


def test_every_method_is_in_the_table():
    assert UNCHANGED.keys() == set(METHODS) - {"synthetic_anomaly"}


@pytest.mark.parametrize("method", UNCHANGED)
def test_methods_are_what_they_were_with_another_default(method, tmp_path):
    train = ConfigParser()
    train.read_config([str(CONFIGS / "train.json"), str(CONFIGS / "methods" / f"{method}.json")])
    toy = {"train#dataset": {"_target_": "tests.toy.ToySlices", "n": 8}, "device": "cpu", "output_dir": str(tmp_path)}
    train.update({"bundle_root": str(CONFIGS.parent), "validate#dataset": toy["train#dataset"], **toy})
    network = train.get_parsed_content("network_def")
    # the settings that a calibration was made with came later
    shapes = {k: list(v.shape) for k, v in network.state_dict().items() if not k.endswith(".map_settings")}
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:8]
    write_settings(tmp_path / "settings.json", train.get_parsed_content("settings"))
    inference = ConfigParser()
    inference.read_config([str(CONFIGS / "inference.json"), str(tmp_path / "settings.json")])
    inferer = type(inference.get_parsed_content("map_inferer")).__name__
    assert (type(network).__name__, digest, inferer) == UNCHANGED[method][:3]
    expected = UNCHANGED[method][3]
    assert (train["training_steps"] == []) == (expected is None)
    if expected is None:
        return
    loss, held_out = (train.get_parsed_content(key) for key in ("loss", "validation_loss"))
    for part in (loss, held_out):
        constraint = getattr(part, "constraint", None)
        assert (constraint if constraint is None else type(constraint).__name__) == expected[2]
        assert part.elbo.kl_weight == expected[3]
    assert (type(loss).__name__, loss.weight, loss.warmup_epochs) == (*expected[:2], expected[4])
    assert type(held_out).__name__ == ("EncodingLoss" if method == "f_ano_gan" else "ConstrainedVAELoss")
    optimizer, handlers = (train.get_parsed_content(key) for key in ("optimizer", "train#handlers"))
    assert [group["lr"] for group in optimizer.param_groups] == [expected[5]]
    assert (train["epochs"], train["min_brain_fraction"]) == (6, 0.3)
    # the learning rate stays: a scheduler for the loss's epoch, one more for the barrier's t
    kinds = [type(handler).__name__ for handler in handlers]
    assert kinds.count("ParamSchedulerHandler") == 1 + ("barrier_t" in train)
    metrics = train.get_parsed_content("validate#additional_metrics")
    assert metrics.keys() == {"val_reconstruction", "val_kl", "val_constraint"}
