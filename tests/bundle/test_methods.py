# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_cuas.bundle import method_overlay, method_overlays, unknown_ids
from monai_cuas.bundle.overrides import missing_base
from monai_cuas.data.seeded import SeededTransform
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.pipeline import Model
from monai_cuas.utils import CUASError

from .conftest import method_files, training_config, write_untrained

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "cuas" / "configs"
METHODS = sorted(path.stem for path in (CONFIGS / "methods").glob("*.json"))
SMALL = {
    **{"bundle_root": str(CONFIGS.parent), "image_size": 48, "channels": [4, 8], "layers": [1, 1]},
    "features": [4, 4, 8, 8, 8, 4],
}


@pytest.mark.parametrize("method", METHODS)
def test_overlay_has_known_ids_a_name_and_a_page(method):
    overlay = json.loads((CONFIGS / "methods" / f"{method}.json").read_text())
    assert not unknown_ids(method_files(method), [])
    assert missing_base(method_files(method)) is None
    assert overlay["method"]
    assert overlay["output_dir"].endswith(f"/runs/{method}'")
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    assert f"methods/{method}.json" in page
    assert f"[{overlay['method']}]({method}.md)" in (ROOT / "docs" / "methods" / "README.md").read_text()


@pytest.mark.parametrize("method", ["synthetic_anomaly", *METHODS])
def test_weights_alone_rebuild_network_and_inferer(method, tmp_path):
    path = write_untrained(tmp_path / "model.pt", method, **SMALL, output_dir=str(tmp_path))
    config = training_config(method, **SMALL, output_dir=str(tmp_path))
    model = Model(path, "cpu")
    assert type(model.network) is type(config.get_parsed_content("network_def"))
    assert type(model.map_inferer()) is type(config.get_parsed_content("map_inferer"))
    assert model.preprocessing().recorded == config.get_parsed_content("preprocessing").recorded
    assert model.method == config.get_parsed_content("method")
    with torch.no_grad():
        anomaly = model.inferer()(torch.rand(1, 1, 48, 48, 2), model.network)
    assert anomaly.shape == (1, 1, 48, 48, 2)
    assert torch.isfinite(anomaly).all()


def test_configs_are_read_in_one_sitting():
    lines = {path: len(path.read_text().splitlines()) for path in CONFIGS.rglob("*.json")}
    assert lines[CONFIGS / "inference.json"] <= 100
    assert lines[CONFIGS / "train.json"] <= 380
    # half of what it was when each method told everything
    methods = [
        n for path, n in lines.items() if path.is_relative_to(CONFIGS / "methods") and "anomalib" not in path.parts
    ]
    assert sum(methods) <= 380


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
    "histogram_equalization": ("StandardizedIntensity", "1cb9db0a", "HistogramEqualizationInferer", None),
    "padim": ("PaDiM", "dd7ffc95", "SliceInferer", VAE_LOSS),
    "patchcore": ("PatchCore", "5d77a5df", "SliceInferer", VAE_LOSS),
    "raw_intensity": ("StandardizedIntensity", "1cb9db0a", "StandardizedIntensityInferer", None),
    "raw_intensity_median": ("StandardizedIntensity", "1cb9db0a", "StandardizedIntensityInferer", None),
    "raw_intensity_two_sided": ("StandardizedIntensity", "1cb9db0a", "StandardizedIntensityInferer", None),
    "raw_intensity_smoothed": ("StandardizedIntensity", "1cb9db0a", "StandardizedIntensityInferer", None),
    "restoration_vae": ("RestorationVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
    "vae": ("ResidualVAE", "ab5aeed1", "SliceInferer", VAE_LOSS),
}


def test_every_method_is_in_the_table():
    assert UNCHANGED.keys() == set(METHODS)


@pytest.mark.parametrize("method", UNCHANGED)
def test_methods_are_what_they_were_with_another_default(method, tmp_path):
    train = ConfigParser()
    train.read_config(method_files(method))
    toy = {"train#dataset": {"_target_": "tests.toy.ToySlices", "n": 8}, "device": "cpu", "output_dir": str(tmp_path)}
    toy["made_with"] = None  # a toy set has no files
    train.update({"bundle_root": str(CONFIGS.parent), "validate#dataset": toy["train#dataset"], **toy})
    network = train.get_parsed_content("network_def")
    # what the recipe tells now was kept beside the weights then
    kept = {} if train["training_steps"] == [] else {"image_size": [2], "map_name": [64]}
    assert network.standardize.landmarks.shape == (1, len(DEFAULT_LEVELS))
    # then there were eleven landmarks; all else is as it was
    kept["standardize.landmarks"] = [1, 11]
    shapes = {**{k: list(v.shape) for k, v in network.state_dict().items()}, **kept}
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:8]
    inferer = type(train.get_parsed_content("map_inferer")).__name__
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
    # the learning rate stays; one scheduler tells the loss its epoch, which tells the barrier
    assert train.get_parsed_content("lr_scheduler").eta_min == expected[5]
    assert [type(handler).__name__ for handler in handlers].count("ParamSchedulerHandler") == 1
    metrics = train.get_parsed_content("validate#additional_metrics")
    assert metrics.keys() == {"val_reconstruction", "val_kl", "val_constraint"}


def test_a_method_is_known_by_its_name_or_the_path_of_an_overlay(tmp_path):
    assert method_overlay("synthetic_anomaly", CONFIGS) == ""
    assert method_overlay("amcons", CONFIGS) == str(CONFIGS / "methods" / "amcons.json")
    own = tmp_path / "mine.json"
    own.write_text("{}")
    assert method_overlay(str(own), CONFIGS) == str(own)
    assert method_overlays("ce_vae") == [f"methods/{name}.json" for name in ("vae", "context_vae", "ce_vae")]
    for name in ("amcon", "adversarial"):  # a slip, and what methods build on
        with pytest.raises(CUASError, match=f"no method '{name}'; the bundle has .*amcons.* or give the path"):
            method_overlay(name, CONFIGS)


def test_context_slices_are_masked_by_the_data_loader():
    config = training_config("context_vae", **SMALL)
    augmentation = config.get_parsed_content("train#augmentation")
    whole = torch.rand(1, 48, 48).clamp(min=0.1)
    made = SeededTransform(augmentation, seed=1)(0, lambda _: {"image": whole, "brain_mask": whole}, 1)["image"]
    torch.testing.assert_close(torch.as_tensor(made[:1]), whole)
    hidden = torch.as_tensor(made[1:]).eq(0)
    # one to three squares of 20/128 of the side, that is 8 pixels
    assert 64 <= int(hidden.sum()) <= 3 * 64
    torch.testing.assert_close(torch.as_tensor(made[1:])[~hidden], whole[~hidden])
    assert config.get_parsed_content("validate#augmentation") is None
