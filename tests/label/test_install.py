# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The command that writes the app's folder; it needs no monailabel."""

from __future__ import annotations

import ast
import json

import pytest

from monai_cuas.cli import main

from ..bundle.conftest import write_bright
from .conftest import BUNDLE


def test_folder_holds_the_bundle_and_one_import(tmp_path, capsys):
    folder = tmp_path / "app"
    assert main(["label-app", "--output", str(folder)]) == 0
    assert "start_server" in capsys.readouterr().out
    for name in ("configs/inference.json", "configs/train.json", "models/model.pt"):
        assert (folder / "model" / "cuas" / name).read_bytes() == (BUNDLE / name).read_bytes()
    (statement,) = ast.parse((folder / "main.py").read_text()).body[1:]
    assert statement.module == "monai_cuas.label.app"
    assert not [f for f in folder.rglob("*") if f.is_file() and f.suffix not in (".py", ".json", ".pt", ".conf")]


def test_what_is_there_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("x")
    assert main(["label-app", "--output", str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_a_bundle_without_weights_is_refused(tmp_path, capsys):
    configs = tmp_path / "bundle" / "configs"
    configs.mkdir(parents=True)
    for name in ("inference", "train", "calibrate"):
        (configs / f"{name}.json").write_text(json.dumps({}))
    assert main(["label-app", "--output", str(tmp_path / "app"), "--bundle", str(tmp_path / "bundle")]) == 1
    assert "models/model.pt" in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


def test_weights_to_serve_by_path_or_name(tmp_path):
    pytest.importorskip("fastapi", reason="the served model needs the server's packages")
    from monai_cuas.label.model import ServedModel

    own = write_bright(tmp_path / "own.pt")
    for model, file, name in ((str(own), "versions/given/model.pt", "own"), ("phantom", "models/model.pt", "shipped")):
        folder = tmp_path / name
        assert main(["label-app", "--output", str(folder), "--model", model]) == 0
        bundle = folder / "model" / "cuas"
        assert json.loads((bundle / "served.json").read_text()) == {"weights": file}
        assert ServedModel(bundle).model().path == bundle / file
    assert ServedModel(tmp_path / "own" / "model" / "cuas").model().method == "raw intensity"


def test_weights_that_cannot_be_served_are_refused_before_anything_is_written(tmp_path, capsys):
    (tmp_path / "bad.pt").write_bytes(b"none")
    for model, words in (("brain", "no shipped weights 'brain'"), (str(tmp_path / "bad.pt"), "no readable weights")):
        assert main(["label-app", "--output", str(tmp_path / "app"), "--model", model]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "app").exists()
