# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_cuas import load_model
from monai_cuas.recipe import read_model
from monai_cuas.shipped import packaged_bundle, shipped_weights, weights_path
from monai_cuas.utils import CUASError

from .bundle.conftest import BUNDLE, write_bright

SHIPPED = shipped_weights()


@pytest.fixture
def bundle(tmp_path) -> Path:
    (tmp_path / "models").mkdir()
    for name in ("model.pt", "model_t1.pt", "model_any_contrast.pt", "other.pt", "model_calibration.json"):
        (tmp_path / "models" / name).write_bytes(b"weights")
    return tmp_path


def test_names_are_what_lies_in_the_folder(bundle):
    models = bundle / "models"
    expected = {"phantom": "model.pt", "any_contrast": "model_any_contrast.pt", "t1": "model_t1.pt"}
    assert list(shipped_weights(bundle).items()) == [(name, models / file) for name, file in expected.items()]
    (models / "model.pt").unlink()
    assert list(shipped_weights(bundle)) == ["any_contrast", "t1"]


def test_a_name_or_a_path(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weights_path("t1", bundle) == bundle / "models" / "model_t1.pt"
    for path in ("runs/t1", "model.pt", Path("t1.pt"), "./runs", tmp_path / "none"):
        assert weights_path(path, bundle) == Path(path)
    Path("own").write_bytes(b"weights")
    assert weights_path("own", bundle) == Path("own")
    with pytest.raises(CUASError, match=r"no shipped weights 't2'; give one of phantom, any_contrast, t1, or the path"):
        weights_path("t2", bundle)
    with pytest.raises(CUASError, match=r"no shipped weights 't2'; give the path of a weights file"):
        weights_path("t2", tmp_path / "empty")


def test_the_bundle_has_its_default():
    assert SHIPPED["phantom"].samefile(BUNDLE / "models" / "model.pt")
    assert {Path(packaged_bundle()) / "models"} == {path.parent for path in SHIPPED.values()}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_small_calibrated_and_loads_by_name(name):
    assert SHIPPED[name].stat().st_size < 10_000_000
    model = load_model(name, "cpu")
    assert model.path == SHIPPED[name]
    assert model.network.calibration.is_calibrated
    assert model.calibration["n_scans"] > 2


def test_python_takes_no_unknown_name():
    with pytest.raises(CUASError, match="no shipped weights 'brain'; give one of phantom"):
        load_model("brain")


def test_weights_that_are_put_there_work_at_once(tmp_path):
    shutil.copytree(BUNDLE / "models", tmp_path / "models")
    write_bright(tmp_path / "models" / "model_bright.pt")
    assert read_model(weights_path("bright", tmp_path)).recipe.method == "raw intensity"
