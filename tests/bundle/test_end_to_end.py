# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_cuas import load_model
from monai_cuas.handlers.finished import EVALUATION_FILES
from monai_cuas.utils import user_message

pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "cuas" / "configs"


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The README's training command on a tiny cohort."""
    folder = tmp_path_factory.mktemp("run")
    result = _run(
        *("training", "--config_file", "bundles/cuas/configs/train.json", "--epochs", "1"),
        *("--phantom_normals", "8", "--phantom_lesions", "1", "--phantom#output_dir", str(folder / "phantom")),
        *("--phantom#spacing", "4.0", "--output_dir", str(folder / "out")),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def _inference(trained: Path, source: Path, output: Path, *more: str) -> subprocess.CompletedProcess:
    weights = str(trained / "out" / "model.pt")
    return _run(
        *("--config_file", "bundles/cuas/configs/inference.json", "--ckpt_path", weights),
        *("--input", str(source), "--output_dir", str(output), *more),
    )


def test_training_ends_with_weights_threshold_masks_and_a_table(trained):
    out = trained / "out"
    model = load_model(out / "model.pt")
    assert torch.isfinite(model.network.calibration.thresholds).sum() >= 8
    assert torch.isfinite(model.network.standardize.landmarks).all()
    assert model.recipe.sequences == ["FLAIR"]
    index = trained / "phantom" / "dataset.json"
    assert model.recipe.data == hashlib.sha256(index.read_bytes()).hexdigest()
    report = json.loads((out / "model_calibration.json").read_text())
    assert report["n_scans"] == model.calibration["n_scans"] >= 1
    table = (out / "evaluation" / "evaluation.md").read_text()
    for method in ("synthetic anomalies", "raw intensity", "histogram equalisation"):
        assert f"| {method} |" in table
    scan = nib.load(next((trained / "phantom").glob("sub-L*/anat/*.nii.gz")))
    mask = nib.load(next((out / "inference").glob("*_mask.nii.gz")))
    anomaly = nib.load(next((out / "inference").glob("*_anomaly.nii.gz")))
    assert mask.shape == anomaly.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
    assert mask.get_data_dtype() == np.uint8
    # the mask is the map at the threshold of 1%
    np.testing.assert_array_equal(mask.get_fdata() > 0, anomaly.get_fdata().astype(np.float32) >= np.float32(2.0))
    assert list((out / "inference").glob("*_overlay.png"))
    assert {path.name for path in (out / "evaluation").iterdir()} <= {*EVALUATION_FILES, "report_scans"}


def test_the_threshold_holds_on_the_calibration_scans(trained):
    """Both passes of the calibration behind it, the realised rate must be the asked one."""
    index = json.loads((trained / "phantom" / "dataset.json").read_text())
    rates = []
    for k, entry in enumerate(index["calibration"]):
        result = _inference(trained, trained / "phantom" / entry["image"], trained / f"calibration{k}")
        assert result.returncode == 0, result.stderr[-2000:]
        brain = nib.load(trained / "phantom" / entry["image"]).get_fdata() != 0
        mask = nib.load(next((trained / f"calibration{k}").glob("*_mask.nii.gz"))).get_fdata() > 0
        rates.append((mask[brain].sum(), brain.sum()))
    found, voxels = np.sum(rates, axis=0)
    assert found / voxels == pytest.approx(0.01, rel=0.25)


def test_a_bad_scan_does_not_stop_the_others(trained, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    good = next((trained / "phantom").glob("sub-L*/anat/*.nii.gz"))
    (scans / "b_good.nii.gz").write_bytes(good.read_bytes())
    (scans / "a_text.nii.gz").write_text("no scan")
    result = _inference(trained, scans, tmp_path / "out")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("monai_cuas: error: 1 of 2 scans failed")
    assert "a_text.nii.gz" in last
    assert (tmp_path / "out" / "b_good_mask.nii.gz").is_file()
    with open(tmp_path / "out" / "results.csv", encoding="utf-8") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == ["b_good"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--image_size", "64"), "image_size is 64 here, but the model was made with 96"),
        (("--rat", "0.05"), "did you mean 'rate'"),
        (("--rate", "0.0000001"), "not supported by the calibration"),
        (("--input", "/nowhere"), "/nowhere"),
        (("--output_dir", "/dev/null/x"), "write"),
        (("--ckpt_path", "/nowhere.pt"), "no such weights file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(trained, tmp_path, more, words):
    result = _inference(trained, trained / "phantom", tmp_path / "out", *more)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("monai_cuas: error: ")
    assert words in last


def _train_in_process(trained: Path, name: str, *overlays: str, **overrides) -> dict[str, torch.Tensor]:
    ids = {
        "bundle_root": str(ROOT / "bundles" / "cuas"),
        "dataset_dir": str(trained / "phantom"),
        "output_dir": str(trained / name),
        "cache_dir": str(trained / "cache"),
        "after_training": [],
        "epochs": 2,
        "middle_slices": 4,
        "image_size": 48,
        "features": [4, 4, 8, 8, 8, 4],
        "channels": [4, 8],
        "layers": [1, 1],
        **overrides,
    }
    files = [str(CONFIGS / file) for file in ("train.json", *overlays)]
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **ids)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    newest = sorted((trained / name / "checkpoints").glob("checkpoint_*.pt"))[-1]
    return torch.load(newest, weights_only=True)["network"]


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k].nan_to_num(-1), b[k].nan_to_num(-1)) for k in a)


def test_same_seed_same_weights_and_resumed_equals_unbroken(trained):
    first = _train_in_process(trained, "first")
    assert _equal(first, _train_in_process(trained, "second"))
    assert not _equal(first, _train_in_process(trained, "other", seed=1))
    for workers in (0, 1):  # the default is as many as there are cores
        assert _equal(first, _train_in_process(trained, f"workers{workers}", num_workers=workers))
    # stopped after the first of the two epochs for which the learning rate is planned
    _train_in_process(trained, "resumed", **{"train#trainer#max_epochs": 1})
    assert _equal(first, _train_in_process(trained, "resumed", resume=True))


def test_a_fresh_start_that_is_killed_early_leaves_nothing_of_the_run_before(trained):
    first = _train_in_process(trained, "before")
    folder = trained / "killed"
    _train_in_process(trained, "killed", learning_rate=0.01)
    files = [str(CONFIGS / "train.json")]
    ids = {"bundle_root": str(ROOT / "bundles" / "cuas"), "output_dir": str(folder)}
    # begun and gone before a scan is read; the data list need not even be known yet
    ConfigWorkflow(files, workflow_type="train", logging_file=False, **ids).initialize()
    assert not list((folder / "checkpoints").iterdir())
    assert _equal(first, _train_in_process(trained, "killed", resume=True))
    with pytest.raises(RuntimeError) as refused:
        _train_in_process(trained, "killed", resume=True, **{"optimizer#weight_decay": 0.1})
    assert "this run was made with other settings" in user_message(refused.value)


def test_gradcam_overlay_trains(trained):
    weights = _train_in_process(trained, "gradcam", "methods/vae.json", "methods/gradcam_cons.json", warmup_epochs=0)
    assert all(torch.isfinite(v).all() for k, v in weights.items() if not k.startswith("calibration"))


def test_a_run_of_another_method_is_used_by_its_weights_alone(trained, tmp_path):
    overlays = ("methods/vae.json", "methods/amcons.json")
    _train_in_process(trained, "amcons", *overlays, after_training=["calibrate"])
    scan, run = next((trained / "phantom").glob("sub-L*/anat/*.nii.gz")), trained / "amcons"
    more = ("--ckpt_path", str(run / "model.pt"), "--input", str(scan), "--output_dir", str(tmp_path))
    result = _run("--config_file", "bundles/cuas/configs/inference.json", *more)
    assert result.returncode == 0, result.stderr[-2000:]
    assert nib.load(next(tmp_path.glob("*_mask.nii.gz"))).shape == nib.load(scan).shape


def test_from_the_bundle_folder_too(trained, tmp_path):
    scan = next((trained / "phantom").glob("sub-L*/anat/*.nii.gz"))
    result = _run(
        *("--config_file", "configs/inference.json", "--input", str(scan), "--output_dir", str(tmp_path)),
        *("--ckpt_path", str(trained / "out" / "model.pt")),
        cwd=ROOT / "bundles" / "cuas",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    # the folder of volumes is there where a viewer is installed
    shown = [name for name in os.listdir(tmp_path) if not name.startswith(".") and name != "report_volumes"]
    assert len(shown) == 5, shown
    assert "report.html" in shown
