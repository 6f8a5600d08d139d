# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from monai_cuas.engines.calibrator import calibrate, conformal_quantile
from monai_cuas.engines.evaluation import _label, evaluate, size_bin
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.networks.layers import LandmarkStandardization, ScoreCalibration
from monai_cuas.utils import CUASError, ScanError

SHAPE = (24, 24, 10)
RATES = (0.5, 0.1, 0.05, 0.01)


class _Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(1)
        self.calibration = ScoreCalibration(RATES)

    def forward(self, x):
        return x


class _Identity(Inferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return network(inputs)


def _preprocessing(entry):
    if entry.get("bad"):
        raise ScanError(entry["image"], "all voxels are zero", "export it again")
    image = np.random.default_rng(entry["seed"]).uniform(0.1, 0.6, SHAPE).astype(np.float32)
    if entry.get("lesion"):
        image[5:10, 5:10, 3:6] = 0.9
    brain = torch.ones(1, *SHAPE, dtype=torch.uint8)
    return {**entry, "image": MetaTensor(torch.as_tensor(image)[None]), "brain_mask": MetaTensor(brain)}


def _postprocessing(item):
    return {**item, "anomaly": item["pred"]}


def _normals(n, start=0):
    return [{"image": f"n{k}", "subject": f"n{k}", "seed": k + start} for k in range(n)]


def _calibrate(network, entries, **kwargs):
    return calibrate(network, entries, _preprocessing, CalibratedInferer(_Identity()), _postprocessing, **kwargs)


def test_conformal_quantile_by_hand():
    values = np.arange(1.0, 100.0)  # n = 99: k = ceil(100 * 0.9) = 90
    assert conformal_quantile(values, 0.1) == 90.0
    assert np.isnan(conformal_quantile(values, 0.001))


def test_calibration_holds_its_rate_and_is_reproducible(tmp_path):
    network, again = _Network(), _Network()
    report = _calibrate(network, _normals(5), output_json=tmp_path / "calibration.json", max_voxels_per_scan=4000)
    _calibrate(again, _normals(5), max_voxels_per_scan=4000)
    assert torch.equal(network.calibration.thresholds, again.calibration.thresholds)
    # uniform in [0.1, 0.6]: the 1% threshold is 0.595
    assert network.calibration.threshold(0.01) == pytest.approx(0.595, abs=2e-3)
    assert json.loads((tmp_path / "calibration.json").read_text())["n_scans"] == report["n_scans"] == 5
    assert report["realised_rate_on_calibration_scans"]["0.01"]["mean"] == pytest.approx(0.01, abs=3e-3)
    assert report["percentiles"]["99"] == report["thresholds"]["0.01"] == network.calibration.threshold(0.01)


def test_too_few_voxels_leave_the_rate_unsupported(caplog):
    network = _Network()
    report = _calibrate(network, _normals(3), max_voxels_per_scan=800)  # 24 expected beyond 1%
    assert 0.01 in report["unsupported_rates"]
    assert torch.isnan(network.calibration.thresholds[-1])
    assert "too few" in caplog.text
    with pytest.raises(CUASError):
        network.calibration.threshold(0.01)


def test_too_few_scans_and_voxels_are_refused():
    with pytest.raises(CUASError, match="at least 3"):
        _calibrate(_Network(), _normals(2))
    with pytest.raises(CUASError, match="too few brain voxels"):
        _calibrate(_Network(), _normals(3), max_voxels_per_scan=20)


def test_evaluation_of_an_easy_lesion(tmp_path, monkeypatch):
    lesion = {"image": "l", "subject": "l", "seed": 99, "lesion": True, "label": "x", "kind": "tumour", "size_mm": 5.0}
    truth = np.zeros(SHAPE, dtype=bool)
    truth[5:10, 5:10, 3:6] = True
    monkeypatch.setattr(
        "monai_cuas.engines.evaluation._label", lambda entry, item: truth if entry.get("label") else None
    )
    tests = [*_normals(2, 50), lesion, {"image": "bad", "bad": True, "seed": 0}]
    report = evaluate(
        _Network(),
        {"model": CalibratedInferer(_Identity())},
        _normals(5),
        tests,
        _preprocessing,
        _postprocessing,
        tmp_path,
    )
    figures = report["methods"]["model"]["groups"]["all lesions"]
    assert figures["auprc"] == figures["auroc"] == figures["oracle_dice"] == figures["scan_auroc"] == 1.0
    assert figures["fpr_normal_mean"] == pytest.approx(0.01, abs=5e-3)
    # 75 lesion voxels, all found, and about 57 of 5685 others
    scan = next(s for s in report["methods"]["model"]["scans"] if s["name"] == "l")
    assert scan["overlap"] == 75
    assert figures["dice_pooled"] == pytest.approx(2 * 75 / (75 + scan["found"]))
    assert set(report["methods"]) == {
        "model", "raw intensity", "raw intensity (two-sided)", "histogram equalisation"
    }  # fmt: skip
    assert {"kind: tumour", "size: 5-10 mm"} <= set(report["methods"]["model"]["groups"])
    assert report["failed"] == [["bad", "bad: all voxels are zero; export it again."]]
    with open(tmp_path / "evaluation.csv", newline="") as file:
        assert {"method": "model", "group": "all lesions", "metric": "auprc", "value": "1.0"} in list(
            csv.DictReader(file)
        )
    assert "oracle_dice" in (tmp_path / "evaluation.md").read_text()
    for name in ("panel.png", "precision_recall.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_normals_alone_give_false_positive_rates(tmp_path):
    methods = {"model": CalibratedInferer(_Identity())}
    report = evaluate(
        _Network(),
        methods,
        _normals(4),
        _normals(2, 70),
        _preprocessing,
        _postprocessing,
        tmp_path,
        with_baselines=False,
    )
    figures = report["methods"]["model"]["groups"]["all lesions"]
    assert figures["n_normal"] == 2
    assert 0 < figures["fpr_normal_mean"] <= figures["fpr_normal_max"] < 0.02
    # both normals have the same number of voxels
    assert figures["fpr_normal_pooled"] == pytest.approx(figures["fpr_normal_mean"])
    json.loads((tmp_path / "evaluation.json").read_text())


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_label_elsewhere_is_refused(tmp_path, shift):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = 2 * shift
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), moved), tmp_path / "label.nii.gz")
    item = {"brain_mask": MetaTensor(torch.ones(1, *SHAPE), affine=affine)}
    entry = {"label": str(tmp_path / "label.nii.gz")}
    if shift:
        with pytest.raises(ScanError, match="not on the grid"):
            _label(entry, item)
    else:
        assert _label(entry, item).all()


@pytest.mark.parametrize(("size", "name"), [(4.9, "<5 mm"), (5, "5-10 mm"), (19, "10-20 mm"), (20, ">=20 mm")])
def test_size_bin(size, name):
    assert size_bin(size) == name
