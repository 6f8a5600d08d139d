# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Each overlay, trained for seconds on a toy set, does what its method claims."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism
from sklearn.metrics import roc_auc_score

from monai_cuas.losses import attention_entropy

from ..toy import SIZE, toy_slices
from .conftest import method_files

CONFIGS = Path(__file__).parents[2] / "bundles" / "cuas" / "configs"
METHODS = ["synthetic_anomaly", *sorted(path.stem for path in (CONFIGS / "methods").glob("*.json"))]
TOY = {
    **{
        "bundle_root": "x",
        "dataset_dir": "x",
        "device": "cpu",
        "amp": False,
        "image_size": SIZE,
        "channels": [8, 16],
        "layers": [1, 1],
    },
    **{"latent_size": 8, "batch_size": 16, "epochs": 6, "learning_rate": 3e-3, "num_workers": 0, "landmarks": None},
    "made_with": None,  # a toy set has no files
    "train#dataset": {"_target_": "tests.toy.ToySlices", "n": 64},
    "validate#dataset": {"_target_": "tests.toy.ToySlices", "n": 16, "seed": 1},
}


def _altered(which: str, **toy: int) -> dict[str, Any]:
    data = {"_target_": "tests.toy.ToySlices", **toy}
    chain = {"transform": f"@{which}#augmentation", "donor_key": "donor"}
    return {"_target_": "monai_cuas.data.seeded.SeededDataset", "data": data, **chain}


# a generator that starts from nothing needs more steps than an autoencoder; twice as many reach an AUROC of 0.99
OWN = {
    "f_ano_gan": {"gan_epochs": 60, "epochs": 20, "critic_steps": 2, "learning_rate": 5e-3},
    # the network's map alone: no intensity beside it, no smoothing over slices that have nothing to do with each other,
    # no fit on scans, which the toy set lacks
    "synthetic_anomaly": {
        "train#dataset": _altered("train", n=64),
        "validate#dataset": _altered("validate", n=16, seed=1),
        "pixel_unshuffle": 1,
        "intensity_weight": 0.0,
        "smoothing": 0.0,
        "training_steps": "@best_of_training",
    },
}
OWN["raw_intensity_smoothed"] = {"smoothing": 0.7}  # the toy's pixels are of 1 mm, and so is its anomaly small
AUROC = {"f_ano_gan": 0.7}


@pytest.fixture
def toy_config(tmp_path) -> Callable[..., ConfigParser]:
    """Function from a method and overrides to its train config on the toy set."""

    def make(method: str, **overrides: Any) -> ConfigParser:
        set_determinism(seed=0)
        parser = ConfigParser()
        parser.read_config(method_files(method))
        parser.update({**TOY, "output_dir": str(tmp_path), **OWN.get(method, {}), **overrides})
        return parser

    yield make
    set_determinism(seed=None)


def _train(config: ConfigParser) -> torch.nn.Module:
    config.get_parsed_content("training_steps")
    return config.get_parsed_content("network_def").eval()


def _map(config: ConfigParser, network: torch.nn.Module, slices: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """The map of the method's own inferer, the slices as one volume."""
    inferer = config.get_parsed_content("recipe").make_map_inferer(batch, config["output_dir"])
    with torch.no_grad():
        return inferer(slices.permute(1, 2, 3, 0)[None], network)[0].permute(3, 0, 1, 2)


@pytest.mark.parametrize("method", METHODS)
def test_obvious_anomaly_ranks_above_normal_tissue_whatever_the_batch(method, toy_config):
    config = toy_config(method)
    network = _train(config)
    slices, brain, anomaly = toy_slices(8, seed=2, anomaly=True)
    scores = _map(config, network, slices)
    assert roc_auc_score(anomaly[brain], scores[brain]) > AUROC.get(method, 0.8)
    torch.testing.assert_close(scores, _map(config, network, slices, batch=3), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif("ANOMALIB_PYTHON" not in os.environ, reason="ANOMALIB_PYTHON names no environment with anomalib")
@pytest.mark.parametrize("backbone", ["own", "efficientnet-lite0"])
@pytest.mark.parametrize("method", ["anomalib/anomalib_padim", "anomalib/anomalib_patchcore"])
def test_anomalib_ranks_the_obvious_anomaly_above_normal_tissue_too(method, backbone, toy_config):
    quick = {"map_inferer#bank_size": 200, "map_inferer#candidates": 4000}
    quick = quick if "core" in method else {"map_inferer#dimensions": 20}
    config = toy_config(method, backbone=backbone, **quick)
    network = _train(config)
    slices, brain, anomaly = toy_slices(8, seed=2, anomaly=True)
    scores = _map(config, network, slices)
    assert roc_auc_score(anomaly[brain], scores[brain]) > 0.8
    torch.testing.assert_close(scores[:3], _map(config, network, slices[:3]), rtol=1e-3, atol=1e-4)


def _mean_attention(network: torch.nn.Module) -> float:
    slices, brain, _ = toy_slices(16, seed=1)
    preds = network.forward_train(slices)
    return float(preds["attention"].detach()[brain].mean())


def test_barrier_drives_the_mean_attention_above_its_bound_and_nothing_else_does(toy_config):
    constrained = _mean_attention(_train(toy_config("gradcam_cons", warmup_epochs=0, epochs=15)))
    free = _mean_attention(_train(toy_config("gradcam_cons", constraint_weight=0.0, epochs=15)))
    assert constrained >= 0.8 > free


def test_mean_activation_variant_obeys_the_bound_after_the_sigmoid(toy_config):
    network = _train(toy_config("gradcam_cons_mean", warmup_epochs=0, epochs=15))
    slices, brain, _ = toy_slices(16, seed=1)
    assert float(network.forward_train(slices)["attention"].detach().sigmoid()[brain].mean()) >= 0.8


@pytest.mark.parametrize(("method", "target"), [("equality_l1", 0.8), ("equality_l2", 0.8)])
def test_equality_pulls_the_mean_attention_to_its_target(method, target, toy_config):
    constrained = _mean_attention(_train(toy_config(method, warmup_epochs=0, epochs=15)))
    free = _mean_attention(_train(toy_config(method, constraint_weight=0.0, epochs=15)))
    assert abs(constrained - target) < 0.1
    assert abs(constrained - target) < abs(free - target)


def test_expansion_pushes_the_mean_attention_to_one(toy_config):
    assert _mean_attention(_train(toy_config("attention_expansion", warmup_epochs=0, epochs=15))) > 0.9


def _entropy(network: torch.nn.Module) -> float:
    slices, brain, _ = toy_slices(16, seed=1)
    with torch.no_grad():
        return float(attention_entropy(network.eval().forward_train(slices)["attention"], brain).mean())


def test_entropy_on_held_out_normals_rises_during_amcons_training(toy_config):
    # without the constraint first, as the map of a random network is nearly flat, and entropy at its maximum;
    # the weight is raised so that few steps suffice
    config = toy_config("amcons", constraint_weight=1000.0, warmup_epochs=10, epochs=20)
    network, found = config.get_parsed_content("network_def"), []
    trainer = config.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: found.append(_entropy(network)))
    config.get_parsed_content("training_steps")
    assert len(found) == 20
    assert found[9] < found[0]
    assert found[19] > found[9]


def _losses(trainer: Any, key: str) -> list[float]:
    found: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: found.append(float(e.state.output[key])))
    return found


def test_both_sides_of_ano_vae_gan_move(toy_config):
    config = toy_config("ano_vae_gan", critic_steps=2)
    critic = config.get_parsed_content("critic")
    before = [p.detach().clone() for p in critic.parameters()]
    trainer = config.get_parsed_content("train#trainer")
    d_losses, g_losses = _losses(trainer, "d_loss"), _losses(trainer, "g_loss")
    _train(config)
    assert len(d_losses) == 24
    # at first the critic tells nothing apart; the penalty on its slope is about 10
    assert abs(d_losses[-1] - d_losses[0]) > 1.0
    assert g_losses[-1] < g_losses[0]
    # all but the last bias, which adds the same to both sides
    assert [i for i, (a, b) in enumerate(zip(before, critic.parameters())) if torch.equal(a, b)] == [len(before) - 1]


def test_f_ano_gan_trains_the_critic_then_lowers_izi_f_with_the_generator_fixed(toy_config):
    config = toy_config("f_ano_gan", gan_epochs=5, epochs=8)
    network = config.get_parsed_content("network_def")
    gan, encoder = config.get_parsed_content("gan_trainer"), config.get_parsed_content("train#trainer")
    d_losses, izi = _losses(gan, "d_loss"), _losses(encoder, "loss")
    generator: list[torch.Tensor] = []
    encoder.add_event_handler(
        Events.STARTED, lambda: generator.extend(p.detach().clone() for p in network.generator_parameters())
    )
    start = [p.detach().clone() for p in network.generator_parameters()]
    _train(config)
    assert abs(d_losses[-1] - d_losses[0]) > 1.0
    assert sum(izi[-4:]) < 0.9 * sum(izi[:4])
    assert any(not torch.equal(a, b) for a, b in zip(start, generator))
    assert all(torch.equal(a, b) for a, b in zip(generator, network.generator_parameters()))


def test_a_killed_f_ano_gan_goes_on_in_its_second_stage(toy_config, tmp_path):
    ids = {"gan_epochs": 2, "critic_steps": 1}
    whole = _train(toy_config("f_ano_gan", **ids, epochs=3, output_dir=str(tmp_path / "whole")))
    killed = str(tmp_path / "killed")
    _train(toy_config("f_ano_gan", **ids, epochs=1, output_dir=killed))
    resumed = toy_config("f_ano_gan", **ids, epochs=3, output_dir=killed, resume=True)
    gan, encoder = resumed.get_parsed_content("gan_trainer"), resumed.get_parsed_content("train#trainer")
    d_losses, izi = _losses(gan, "d_loss"), _losses(encoder, "loss")
    network = _train(resumed)
    assert not d_losses
    assert len(izi) == 2 * 4
    for a, b in zip(whole.state_dict().values(), network.state_dict().values()):
        torch.testing.assert_close(a.nan_to_num(-1), b.nan_to_num(-1))


def test_gradcon_aligns_the_gradients(toy_config):
    def alignment(weight: float) -> float:
        config = toy_config("gradcon", constraint_weight=weight)
        network = _train(config)
        assert network.reference_steps == 24
        slices, _, _ = toy_slices(16, seed=1)
        return float(torch.stack([network._slice_alignment(s[None]) for s in slices]).mean())

    assert alignment(300.0) > alignment(0.0)
