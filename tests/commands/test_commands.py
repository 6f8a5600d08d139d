# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The commands are fronts of the bundle's configs: what they do is done by those, and errors are one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_cuas import __version__, load_model
from monai_cuas.bundle import run_config
from monai_cuas.cli import main
from monai_cuas.shipped import packaged_bundle
from monai_cuas.utils import user_message

from ..bundle.conftest import BUNDLE, write_untrained

SHIPPED = BUNDLE / "models" / "model.pt"


@pytest.fixture
def scan(tmp_path) -> Path:
    x = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij")) - 19.5
    brain = (x**2).sum(axis=0) < 16**2
    image = np.where(brain, 100 + np.random.default_rng(0).normal(0, 8, brain.shape), 0)
    image[22:27, 22:27, 18:24] = 200
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])), path)
    return path


def test_infer_elsewhere_equals_python(scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "scan.nii.gz", "--output_dir", "out", "--rate", "0.02", "--device", "cpu"]) == 0
    with open("out/results.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    finding = load_model(SHIPPED, "cpu").find(scan, 0.02)
    assert float(row["lesion_volume_ml"]) == finding.volume_ml > 0
    assert float(row["scan_score"]) == finding.score
    assert (finding.p_value, finding.components) == (float(row["scan_p_value"]), int(row["components"]))
    assert finding.map.shape == finding.mask.shape == (40, 40, 40)
    finding.save(tmp_path / "saved", "scan")
    for kind in ("mask", "anomaly"):
        ours, theirs = (tmp_path / folder / f"scan_{kind}.nii.gz" for folder in ("saved", "out"))
        np.testing.assert_array_equal(nib.load(ours).get_fdata(), nib.load(theirs).get_fdata())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--window", "[0,50]"], "window is [0, 50] here, but the model was made with None"),
        (["--margin_mm", "12"], "margin_mm is 12 here, but the model was made with 4.0"),
        (["--resize", "false"], "resize is False here, but the model was made with True"),
        (["--bias_correction", "true"], "bias_correction is True here, but the model was made with False"),
        (["--image_size", "40"], "image_size is 40 here, but the model was made with 96"),
        (["--intensity_weight", "0"], "intensity_weight is 0 here, but the model was made with 1.0"),
        (["--rat", "0.1"], "did you mean 'rate'?"),
        (["--model", "none.pt"], "no such weights file"),
        (["--model", "brain"], "no shipped weights 'brain'; give one of phantom"),
        (["--threshold", "2"], "The config has no id 'threshold'"),
    ],
)
def test_what_changed_masks_in_silence_is_refused(scan, tmp_path, capsys, more, words):
    assert main(["infer", str(scan), "--output_dir", str(tmp_path / "out"), *more]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.csv").exists()


def test_what_the_recipe_says_may_be_said_again(scan, tmp_path):
    same = ["--window", "null", "--margin_mm", "4", "--image_size", "96"]
    assert main(["infer", str(scan), "--output_dir", str(tmp_path / "out"), "--device", "cpu", *same]) == 0


def test_a_method_is_used_by_its_weights_alone(scan, tmp_path):
    weights = write_untrained(tmp_path / "model.pt", "amcons", image_size=48, channels=[4, 8], layers=[1, 1])
    arguments = ["--model", str(weights), "--output_dir", str(tmp_path / "out"), "--device", "cpu", "--rate", "0.1"]
    assert main(["infer", str(scan), *arguments]) == 0
    assert load_model(weights).method == "AMCons"


def test_shipped_weights_by_name_are_the_same_as_by_path(scan, tmp_path):
    rows = []
    for k, model in enumerate(("phantom", str(SHIPPED))):
        arguments = ["--model", model, "--output_dir", str(tmp_path / str(k)), "--device", "cpu"]
        assert main(["infer", str(scan), *arguments]) == 0
        with open(tmp_path / str(k) / "results.csv", newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
            rows.append([row[key] for key in ("lesion_volume_ml", "scan_score", "scan_p_value")])
    assert rows[0] == rows[1]


def test_a_device_that_is_not_there_is_said(scan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["infer", str(scan), "--output_dir", str(tmp_path / "out"), "--device", "cuda"]) == 1
    assert "no GPU that torch can use" in capsys.readouterr().err


def test_a_copy_of_the_bundle_is_a_bundle(tmp_path, capsys):
    assert main(["bundle", "--copy", str(tmp_path / "cuas")]) == 0
    names = {str(p.relative_to(tmp_path / "cuas")) for p in (tmp_path / "cuas").rglob("*") if p.is_file()}
    assert {"configs/train.json", "configs/methods/amcons.json", "configs/logging.conf", "models/model.pt"} <= names
    assert main(["bundle", "--copy", str(tmp_path / "cuas")]) == 1
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["infer", "train", "calibrate", "evaluate", "compare", "bundle", "label-app"])
def test_help_is_for_people(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: monai_cuas {command}")
    assert len(text) < 3500


def test_an_unknown_method_is_said(capsys):
    assert main(["train", "--method", "amcon"]) == 1
    assert "no method 'amcon'" in capsys.readouterr().err


def test_one_version():
    assert json.loads((BUNDLE / "configs" / "metadata.json").read_text())["version"] == __version__
    assert load_model(SHIPPED).recipe.version == __version__


@pytest.fixture
def normals(tmp_path) -> Path:
    x = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij")) - 19.5
    brain = (x**2).sum(axis=0) < 16**2
    (tmp_path / "normals").mkdir()
    for seed in range(3):
        image = np.where(brain, 100 + np.random.default_rng(seed).normal(0, 8, brain.shape), 0)
        path = tmp_path / "normals" / f"own{seed}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])), path)
    return tmp_path / "normals"


def test_own_normals_make_a_new_weights_file(scan, normals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = SHIPPED.read_bytes()
    asked = ["calibrate", "--model", "phantom", "--normals", "normals", "--device", "cpu"]
    assert main([*asked, "--output", "own/own.pt"]) == 0
    assert SHIPPED.read_bytes() == before
    old, new = load_model("phantom", "cpu"), load_model("own/own.pt", "cpu")
    assert new.calibration["n_scans"] == 3
    assert (tmp_path / "own" / "own_calibration.json").is_file()
    rates = [new.find(path, 0.05).mask.sum() / new.find(path, 0.05).brain.sum() for path in normals.iterdir()]
    assert np.mean(rates) == pytest.approx(0.05, rel=0.2)
    assert not np.array_equal(old.find(scan).map, new.find(scan).map)


@pytest.mark.parametrize("how", ["name", "path", "link", "output", "name beside a file of that name"])
def test_a_shipped_model_is_never_calibrated_in_its_place(how, normals, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("link.pt").symlink_to(SHIPPED)
    if "beside" in how:
        Path("phantom").write_bytes(b"another")
    model = {"path": str(SHIPPED), "link": "link.pt"}.get(how, "phantom")
    before = SHIPPED.read_bytes()
    output = ["--output", str(SHIPPED)] if how == "output" else []
    assert main(["calibrate", "--model", model, "--normals", str(normals), *output]) == 1
    assert "say with --output where the new one is to go" in capsys.readouterr().err
    assert SHIPPED.read_bytes() == before
    if "beside" in how:
        assert Path("phantom").read_bytes() == b"another"


def test_the_config_too_leaves_shipped_weights_alone(normals):
    settings = {"normals": str(normals), "device": "cpu"}
    with pytest.raises(Exception) as error:  # MONAI wraps it
        run_config(packaged_bundle(), ["inference.json", "calibrate.json"], settings)
    assert "these weights are shipped" in str(user_message(error.value))


def test_infer_ends_with_three_lines_and_bad_scans_are_listed(scan, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "good.nii.gz").write_bytes(scan.read_bytes())
    (folder / "bad.nii.gz").write_bytes(b"no scan")
    out = tmp_path / "out"
    assert main(["infer", str(folder), "--model", str(SHIPPED), "--output_dir", str(out), "--device", "cpu"]) == 1
    said = capsys.readouterr()
    first, second, third = said.out.splitlines()[-3:]
    assert first == "Scans in the folder: 1, and 1 that failed"
    assert second == "With something found: 1"
    assert third == f"Report: {out / 'report.html'}"
    assert "bad.nii.gz" in said.err
