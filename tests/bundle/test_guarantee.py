# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""`--guarantee true` through the bundle: calibrate, refuse, infer."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_cuas.data.datalist import load_datalist
from monai_cuas.utils import CUASError, user_message


def _normals(phantom):
    names = ("calibration", "training", "validation")
    return "$" + " + ".join(f"load_datalist('{phantom}/dataset.json', '{name}')" for name in names)


@pytest.fixture
def calibrated(make_workflow, weights, phantom, tmp_path):
    """Weights calibrated on the phantom's normals, all of them, with a bound that suits so few."""
    path = tmp_path / "model.pt"
    path.write_bytes(weights.read_bytes())
    ids = {"ckpt_path": str(path), "calibration_data": _normals(phantom), "max_fraction": 0.2}
    make_workflow("inference.json", "calibrate.json", workflow_type="infer", **ids).run()
    return path


def _rows(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_guaranteed_masks(make_workflow, calibrated, phantom, tmp_path):
    report = json.loads((tmp_path / "model_calibration.json").read_text())["guaranteed"]
    assert report["max_fraction"] == 0.2
    assert report["n_scans"] == 5
    scans = load_datalist(str(phantom / "dataset.json"), "test_lesion")
    found = {}
    for guarantee in (False, True):
        out = tmp_path / f"out_{guarantee}"
        ids = {"ckpt_path": str(calibrated), "input": scans[0]["image"], "output_dir": str(out)}
        ids |= {"guarantee": guarantee, "displayable_configs#rate": 0.05}
        make_workflow("inference.json", workflow_type="infer", **ids).run()
        (row,) = _rows(out)
        assert row["threshold"] == ("guaranteed" if guarantee else "pooled")
        assert float(row["scan_p_value"]) in np.round(np.arange(1, 7) / 6, 4)
        anomaly, mask = (nib.load(next(out.glob(f"*_{n}.nii.gz"))).get_fdata() for n in ("anomaly", "mask"))
        limit = float(row["threshold_raised_to"] or row["threshold_score"])
        # the table's number is rounded
        assert (mask[anomaly > limit + 1e-4] == 1).all()
        assert (mask[anomaly < limit - 1e-4] == 0).all()
        found[guarantee] = float(row["fraction_of_brain"])
    assert found[True] <= 0.2
    state = torch.load(calibrated, weights_only=True)["model"]
    assert float(state["calibration.guaranteed.max_fraction"]) == pytest.approx(0.2)
    assert torch.isfinite(state["calibration.scan_scores"]).sum() == 5


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0.01, "5 normal scans cannot guarantee the healthy rate 0.01"), (0.03, "There is no guaranteed threshold")],
)
def test_what_cannot_be_guaranteed_is_said(make_workflow, calibrated, phantom, rate, words):
    ids = {"ckpt_path": str(calibrated), "input": str(phantom), "guarantee": True, "displayable_configs#rate": rate}
    workflow = make_workflow("inference.json", workflow_type="infer", **ids)
    with pytest.raises((CUASError, RuntimeError)) as error:
        workflow.run()
    assert words in user_message(error.value)


def test_evaluation_with_the_guarantee(make_workflow, calibrated, phantom, tmp_path):
    ids = {"ckpt_path": str(calibrated), "guarantee": True, "rate": 0.1, "calibration_data": _normals(phantom)}
    make_workflow("inference.json", "evaluate.json", workflow_type="infer", **ids).run()
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {m["threshold"] for m in report["methods"].values()} == {"guaranteed"}
    assert all(s["found"] >= 0 and s["scan_p_value"] for m in report["methods"].values() for s in m["scans"])
