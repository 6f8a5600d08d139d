# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np

from monai_cuas.bundle.workflow import run_config
from monai_cuas.cli import main

from ..data.folders import mvtec
from ..data.layouts.test_msd import task
from .conftest import BUNDLE, TINY

STEPS = ["calibrate", "inference", "evaluate"]


def _train(folder, **ids):
    """The whole job on a data list: training, calibration, masks, evaluation."""
    ids = {**TINY, "after_training": STEPS, "dataset_dir": str(folder), "output_dir": str(folder / "run"), **ids}
    run_config(BUNDLE, ["train.json"], ids, "train")
    with open(folder / "run" / "inference" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "run" / "evaluation" / "evaluation.json").read_text())


def test_lesion_free_slices_of_one_channel_of_many(tmp_path, monkeypatch):
    """As the paper with BraTS, on files with four channels: patients train by their slices without lesion."""
    task(tmp_path / "data", cases=[f"BRATS_{k:03d}" for k in range(8)], size=32)
    words = ["datalist", "--input", str(tmp_path / "data"), "--output", str(tmp_path / "dataset.json")]
    assert main([*words, "--sequences", "t1gd", "--lesion_free_slices", "--split", "3", "3", "1", "1"]) == 0
    drawn = []
    monkeypatch.setattr("monai_cuas.handlers.result_saver.draw_overlay", lambda _, scan, *rest: drawn.append(scan))
    rows, report = _train(tmp_path, middle_slices=None, min_brain_fraction=0.0)
    calibration = json.loads((tmp_path / "run" / "model_calibration.json").read_text())
    image = nib.load(next((tmp_path / "data").rglob("imagesTr/*.nii.gz"))).get_fdata()
    brain = image[..., 2] > 0
    assert calibration["n_scans"] == 3
    assert calibration["n_voxels"] == 3 * (brain.sum() - brain[..., 16].sum())  # where the lesion lies
    assert [row["size"] for row in rows] == ["32x32x32"]
    channels = np.moveaxis(nib.load(rows[0]["file"]).get_fdata(), -1, 0)
    assert len(drawn) == 1
    assert [bool(np.allclose(drawn[0], channel)) for channel in channels] == [False, False, True, False]
    figures = report["methods"]["raw intensity"]["groups"]["all lesions"]
    assert figures["n_scans"] == figures["n_masks"] == 1
    assert figures["auprc"] is not None


def test_pictures_beyond_brains(tmp_path):
    """An MVTec category through the same commands: the bright square is what the raw intensity finds at once."""
    mvtec(tmp_path / "data", good=15, bad=2, size=(60, 40))
    words = ["datalist", "--input", str(tmp_path / "data"), "--output", str(tmp_path / "dataset.json")]
    assert main([*words, "--split", "7", "6", "2", "0"]) == 0
    rows, report = _train(tmp_path, pictures=True, margin_mm=0.0, middle_slices=None)
    assert [row["size"] for row in rows] == ["40x60x1", "40x60x1"]
    figures = report["methods"]["raw intensity"]["groups"]["all lesions"]
    assert (figures["n_scans"], figures["n_masks"], figures["n_normal"]) == (2, 2, 1)
    assert figures["auroc"] > 0.95  # the square loses its edge in the resizing
    assert figures["slice_auroc"] == figures["scan_auroc"] == 1.0
    assert set(report["methods"]["synthetic anomalies"]["groups"]) == {"all lesions", "kind: hole"}
    name = rows[0]["name"]
    mask = nib.load(tmp_path / "run" / "inference" / f"{name}_mask.nii.gz")
    assert mask.shape == (40, 60, 1)
    assert np.allclose(mask.affine, np.diag([-1, -1, 1, 1]))
    assert (tmp_path / "run" / "inference" / f"{name}_overlay.png").stat().st_size > 1000
    assert (tmp_path / "run" / "evaluation" / "panel.png").stat().st_size > 1000
