# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI's own tools on the bundle: property checks, exports, loading, and the runner from any folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.inferers import SliceInferer

from monai_cuas.calibration.scores import require_rate
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.recipe import read_model

from .conftest import BUNDLE, CONFIGS, ROOT, TINY, run_module

# the weights lie beside their recipe
KEY = {"key_in_ckpt": "model"}
SHIPPED = BUNDLE / "models" / "model.pt"


@pytest.fixture
def restored_logging():
    """The bundle's logging.conf replaces the root logger's handlers, pytest's among them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def network(weights) -> torch.nn.Module:
    return read_model(weights).network


@pytest.mark.parametrize("files", [["train.json"], ["inference.json"], ["inference.json", "evaluate.json"]])
def test_properties(make_workflow, weights, files):
    if files == ["train.json"]:
        workflow = make_workflow(*files)
    else:
        workflow = make_workflow(*files, workflow_type="infer", ckpt_path=str(weights))
    assert workflow.check_properties() == []
    # what a server asks beside the required ones
    for name in ("train_handlers", "val_handlers") if files == ["train.json"] else ("preprocessing", "postprocessing"):
        assert getattr(workflow, name)


@pytest.mark.parametrize("config", ["train.json", "inference.json"])
def test_network_gives_what_the_metadata_says(config):
    monai.bundle.verify_net_in_out(
        *("network_def", str(CONFIGS / "metadata.json"), str(CONFIGS / config)), device="cpu", bundle_root=str(BUNDLE)
    )


def test_torchscript_export_runs_and_carries_metadata(bundle_copy, network, restored_logging):
    inference = str(bundle_copy / "configs" / "inference.json")
    monai.bundle.ckpt_export(bundle_root=str(bundle_copy), config_file=inference, **KEY)
    scripted, metadata, extra = monai.bundle.load(
        "cuas", bundle_dir=bundle_copy.parent, load_ts_module=True, device="cpu", config_files=("inference.json",)
    )
    original = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["network_data_format"] == original["network_data_format"]
    assert json.loads(extra["inference.json"])["rate"] == 0.01
    inferer = CalibratedInferer(SliceInferer(spatial_dim=2, roi_size=(96, 96), sw_batch_size=2))
    volume = torch.rand(1, 1, 96, 96, 3)
    with torch.no_grad():
        score = inferer(volume, scripted.eval())
        torch.testing.assert_close(score, inferer(volume, network))
    assert score.std() > 0


def test_onnx_export_gives_the_same_map(bundle_copy, network, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    monai.bundle.onnx_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file=str(bundle_copy / "models" / "model.pt"),
        bundle_root=str(bundle_copy),
        meta_file=str(bundle_copy / "configs" / "metadata.json"),
        config_file=str(bundle_copy / "configs" / "inference.json"),
        **KEY,
    )
    session = runtime.InferenceSession(path)
    x = torch.rand(1, 1, 96, 96)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("workflow_type", ["train", "inference"])
def test_load_in_the_bundle_folder(bundle_copy, network, monkeypatch, restored_logging, workflow_type):
    monkeypatch.chdir(bundle_copy)
    loaded = monai.bundle.load("cuas", bundle_dir=bundle_copy.parent, workflow_type=workflow_type, device="cpu", **KEY)
    assert isinstance(loaded, AnomalyUNet)
    assert loaded.calibration.is_calibrated
    x = torch.rand(1, 1, 96, 96)
    torch.testing.assert_close(loaded.eval()(x), network(x))


@pytest.mark.parametrize("workflow_type", ["train", "inference"])
def test_load_from_elsewhere(bundle_copy, tmp_path, monkeypatch, workflow_type):
    """A local folder needs no source; ``args_file`` is the way to pass ids such as bundle_root through ``load``."""
    monkeypatch.chdir(tmp_path)
    ids = {"bundle_root": str(bundle_copy), "output_dir": str(tmp_path / "out"), "logging_file": False}
    (tmp_path / "args.json").write_text(json.dumps(ids))
    loaded = monai.bundle.load(
        "cuas",
        bundle_dir=bundle_copy.parent,
        workflow_type=workflow_type,
        device="cpu",
        args_file="args.json",
        **KEY,
    )
    assert isinstance(loaded, AnomalyUNet)
    assert loaded.calibration.is_calibrated


def test_training_elsewhere_takes_the_packages_bundle_and_writes_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "train.json"))
    assert Path(parser.get_parsed_content("bundle_root")).resolve() == BUNDLE
    assert parser.get_parsed_content("output_dir") == "./runs/synthetic_anomaly"
    monkeypatch.chdir(ROOT)
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "train.json"))
    assert parser.get_parsed_content("output_dir") == "bundles/cuas/runs/synthetic_anomaly"


@pytest.mark.parametrize("place", ["repository", "bundle", "elsewhere"])
def test_training_command(place, phantom, slice_cache, tiny_overlay, tmp_path):
    """Settings come from a YAML overlay in the first place, from the command line in the others."""
    ids = {**TINY, "dataset_dir": phantom, "cache_dir": slice_cache, "output_dir": tmp_path / "out"}
    options = [part for key, value in ids.items() for part in (f"--{key}", str(value))]
    if place == "repository":
        config = f"['bundles/cuas/configs/train.json','{tiny_overlay}']"
        result = run_module("training", "--config_file", config, "--output_dir", tmp_path / "out", cwd=ROOT)
    elif place == "bundle":
        result = run_module("training", "--config_file", "configs/train.json", *options, cwd=BUNDLE)
    else:
        config = ("--config_file", CONFIGS / "train.json", "--bundle_root", BUNDLE)
        result = run_module("training", *config, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    made = read_model(tmp_path / "out" / "model.pt")
    assert made.recipe.network["image_size"] == made.recipe.preprocessing["image_size"] == TINY["image_size"]
    assert made.recipe.network["features"] == TINY["features"]
    assert torch.isfinite(made.network.standardize.landmarks).all()


def test_misspelt_id_in_a_yaml_overlay_is_refused(tiny_overlay):
    tiny_overlay.write_text(tiny_overlay.read_text() + "batchsize: 2\n")
    config = f"['bundles/cuas/configs/train.json','{tiny_overlay}']"
    result = run_module("training", "--config_file", config)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "'batchsize' (did you mean 'batch_size'?)" in result.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no weights are shipped (bundles/cuas/models/model.pt)")
def test_shipped_weights(phantom, tmp_path):
    assert SHIPPED.stat().st_size < 25_000_000
    assert torch.load(SHIPPED, map_location="cpu", weights_only=True).keys() == {"model", "recipe", "calibration"}
    network = read_model(SHIPPED).network
    assert network.standardize.is_fitted
    require_rate(network.calibration, 0.01)
    scan = next(phantom.glob("sub-L*/anat/*.nii.gz"))
    config = ("--config_file", Path("bundles/cuas/configs/inference.json"))
    result = run_module(*config, "--input", scan, "--output_dir", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    anomaly, image = (nib.load(p) for p in (next(tmp_path.glob("*_anomaly.nii.gz")), scan))
    assert anomaly.shape == image.shape
    np.testing.assert_allclose(anomaly.affine, image.affine, atol=1e-5)
    assert np.ptp(anomaly.get_fdata()) > 0
