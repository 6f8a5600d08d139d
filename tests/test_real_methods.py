# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of every method on real scans: none is left out, all have their full width, one failure stops none."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
import torch
from monai.bundle import ConfigParser

from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.networks.nets import PaDiM, ResidualVAE

from .benchmark_modules import FOLDER, benchmark

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's benchmarks")


@pytest.fixture(scope="module")
def methods():
    with benchmark("methods") as module:
        yield module


@pytest.fixture
def arguments(tmp_path):
    return argparse.Namespace(
        lists=tmp_path / "lists", output=tmp_path / "out", sequence="flair", seed=0, epochs=6, size=96
    )


def test_every_method_of_compare_that_learns_has_a_row(methods):
    folder = methods.CONFIGS / "methods"
    overlays = {path.stem for path in folder.glob("*.json")}
    simple = {name for name in overlays if name.startswith("raw_intensity") or name == "histogram_equalization"}
    assert set(methods.METHODS) == (overlays - simple) | {"synthetic_anomaly"}
    assert len(methods.BASELINES) == len(simple)
    assert set(methods.ON_IMAGENET) == {path.stem for path in (folder / "anomalib").glob("*.json")}


@pytest.mark.parametrize("method", ["vae", "amcons", "gradcon", "synthetic_anomaly"])
def test_a_row_has_its_full_width_and_all_ids_are_known(methods, arguments, method):
    ids = methods.settings(method, True, arguments)
    config = methods._config(method)
    assert not [key for key in ids if key.split("#")[0] not in config]
    config.update({**ids, "method": "x"})
    network = config.get_parsed_content("network_def")
    if method == "synthetic_anomaly":
        assert "channels" not in ids
    else:
        assert network.stem.out_channels == 64
        assert network.sizes[0] == 96
    assert "training_steps" not in ids
    assert ids["epochs"] == 6


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ("vae", []),
        ("f_ano_gan", []),
        ("synthetic_anomaly", ["@normal_level"]),
        ("padim", ["$@network_def.fit(@train#dataloader, @device)"]),
    ],
)
def test_an_untrained_row_only_remembers_normals(methods, arguments, method, steps):
    ids = methods.settings(method, False, arguments)
    assert ids["training_steps"] == steps
    assert ids["output_dir"] != methods.settings(method, True, arguments)["output_dir"]


def test_what_takes_up_a_training_differs_from_it_in_its_map_alone(methods, arguments):
    def training(name):
        config = methods._config(name).config
        own = {"base", "method", "output_dir", "training_steps"}
        parts = {key: value for key, value in config.items() if key not in own}
        names = ("in_channels", "image_size", "channels", "layers", "latent", "latent_size")
        return json.dumps({**parts, "network_def": {name: parts["network_def"][name] for name in names}})

    for method, source in methods.TRAINED_AS.items():
        assert training(method) == training(source)
        ids = methods.settings(method, True, arguments)
        first = ids["training_steps"][0]
        assert first.startswith("$take_over(")
        assert str(methods.settings(source, True, arguments)["output_dir"]) in first
        assert methods.METHODS.index(source) < methods.METHODS.index(method)


def test_one_row_of_random_weights_stands_for_maps_that_are_the_same_before_training(methods):
    scan = torch.rand(2, 1, 32, 32)

    def made(name):
        config = methods._config(name)
        config.update({"image_size": 32, "channels": [4, 8], "layers": [1, 1]})
        torch.manual_seed(0)
        network = config.get_parsed_content("network_def").eval()
        network.standardize.fit(torch.tensor(DEFAULT_LEVELS).view(1, 1, -1))
        return network(scan), config["map_inferer"]

    for method, other in methods.UNTRAINED_AS.items():
        (one, inferer), (two, same) = made(method), made(other)
        assert torch.equal(one, two), method
        assert inferer == same, method


def test_weights_are_taken_over_through_the_config(methods, arguments, tmp_path):
    torch.manual_seed(0)
    source = ResidualVAE(image_size=32, channels=[4, 8], layers=[1, 1])
    torch.save(source.state_dict(), tmp_path / "model.pt")
    network = PaDiM(image_size=32, channels=[4, 8], layers=[1, 1], dimensions=4)
    network.mean.fill_(3.0)
    step = f"$take_over(@network_def, {str(tmp_path / 'model.pt')!r})"
    config = ConfigParser({"imports": ["$from methods import take_over"], "network_def": network, "step": step})
    config.get_parsed_content("step")
    assert torch.equal(network.stem.weight, source.stem.weight)
    assert torch.equal(network.mu.weight, source.mu.weight)
    assert network.mean.unique().tolist() == [3.0]


def test_the_heavy_parts_are_computed_in_bfloat16_and_given_in_float32(methods, monkeypatch):
    monkeypatch.setattr(methods, "has_fast_bfloat16", lambda: True)
    network, seen = torch.nn.Linear(4, 4), []

    def encode(self, x):
        seen.append(self(x).dtype)
        return self(x), x

    found = methods._in_bfloat16(encode)(network, torch.rand(2, 4))
    assert seen == [torch.bfloat16]
    assert [part.dtype for part in found] == [torch.float32, torch.float32]
    assert methods._in_bfloat16(lambda self, x: self(x))(network, torch.rand(2, 4)).dtype == torch.float32


def _figures(patients, mean=0.5):
    part = dict.fromkeys(("auprc", "dice", "oracle_dice"), mean)
    rest = {"patient_auprc": [mean, 0.4, 0.6], "patient_dice": [mean, 0.4, 0.6], "patients": {"auprc": patients}}
    return {"map": {"lgg": {"all": part, "ten": part, **rest}}}


def test_one_method_that_fails_stops_no_other(methods, arguments, monkeypatch):
    bench = argparse.Namespace()
    monkeypatch.setattr(methods, "Benchmark", lambda *args, **kwargs: bench)
    monkeypatch.setattr(methods, "AttentionVAE", type("Stub", (), {"encode": None, "decode": None}))
    monkeypatch.setattr(methods.Results, "add_baselines", lambda self, bench: None)
    asked = []

    def row(method, trained, bench, results, args):
        asked.append((method, trained))
        if method == "gradcon" and trained:
            raise ValueError("no such thing")
        results.add(method if trained else f"{method}, untrained", 0, 6 if trained else 0, name=method)

    monkeypatch.setattr(methods, "_row", row)
    arguments.methods = ["gradcon", "ae", "vae", "anomalib_padim"]
    with pytest.raises(SystemExit, match="not made: gradcon: ValueError: no such thing"):
        methods.run(arguments)
    both = [("gradcon", True), ("gradcon", False), ("ae", True), ("vae", True), ("vae", False)]
    assert asked == [*both, ("anomalib_padim", True)]
    asked.clear()
    with pytest.raises(SystemExit):
        methods.run(arguments)
    assert asked == [("gradcon", True)]


def test_the_table_tells_what_a_training_gives_and_what_was_not_made(methods, tmp_path, capsys, monkeypatch):
    results = methods.Results(tmp_path, "t1")
    for name in methods.BASELINES:
        results.add(name, 0, 0, figures=_figures([0.1, 0.2, 0.3]))
    results.add("vae", 0, 6, name="VAE", training_steps=210, figures=_figures([0.3, 0.4, 0.8]))
    results.add("vae, untrained", 0, 0, name="VAE", training_steps=0, figures=_figures([0.2, 0.3, 0.4]))
    results.add("ae", 0, 6, name="AE", training_steps=210, figures=_figures([0.2, 0.3, 0.3]))
    results.add("anomalib_padim", 0, 6, name="PaDiM (anomalib, x)", training_steps=0, figures=_figures([0.1] * 3))
    monkeypatch.setattr(sys, "argv", ["methods.py", "table", "--output", str(tmp_path)])
    methods.main()
    printed = capsys.readouterr().out
    assert "## flair" not in printed
    assert (
        "| VAE | 210 | 0.500 | 0.500 | 0.500 | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) | 0.200 (0.1" in printed
    )
    assert "| VAE, random weights | - |" in printed
    assert "| AE | 210 | 0.500 | 0.500 | 0.500 | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) | -0.033 (" in printed
    assert "| AE, random weights" not in printed
    assert "| PaDiM (anomalib, x) | - |" in printed
    missing = printed[printed.index("Not made: ") :]
    assert "anomalib_patchcore" in missing
    assert " vae," not in missing
