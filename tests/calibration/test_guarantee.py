# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Calibration and evaluation with guaranteed thresholds and scans' p-values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.calibration.fit import calibrate
from monai_cuas.calibration.scores import threshold_at
from monai_cuas.evaluation.evaluate import evaluate
from monai_cuas.inferers import CalibratedInferer, GuaranteedInferer
from monai_cuas.metrics import top_fraction_mean
from monai_cuas.networks.layers import LandmarkStandardization, ScoreCalibration
from monai_cuas.transforms import CalibrateAnomaly, ThresholdAnomalyd
from monai_cuas.utils import CUASError

SHAPE = (20, 20, 10)


class _Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(1)
        self.calibration = ScoreCalibration((0.5, 0.2, 0.1, 0.05, 0.01))

    def forward(self, x):
        return x


def _identity(inputs, network):
    return network(inputs)


def _image(seed, lift=0.0):
    generator = np.random.default_rng(seed)
    return (generator.uniform(0.1, 0.5, SHAPE) + lift + 0.03 * generator.normal()).astype(np.float32)


def _preprocessing(entry):
    image = _image(entry["seed"], entry.get("lift", 0.0))
    brain = torch.ones(1, *SHAPE, dtype=torch.uint8)
    brain[:, :2] = 0
    return {**entry, "image": MetaTensor(torch.as_tensor(image)[None]), "brain_mask": MetaTensor(brain)}


def _postprocessing(item):
    """Smooths, as resampling does: the order of score and smoothing matters."""
    return {**item, "anomaly": torch.nn.functional.avg_pool3d(item["pred"], 3, 1, 1) * item["brain_mask"]}


def _normals(n, start=0, **more):
    return [{"image": f"n{k}", "subject": f"n{k}", "seed": k + start, **more} for k in range(n)]


def _raw(entry):
    item = _preprocessing(entry)
    item = _postprocessing({**item, "pred": item["image"]})
    return np.asarray(item["anomaly"][0])[np.asarray(item["brain_mask"][0]) > 0]


def _calibrated(n, **kwargs):
    network = _Network()
    report = calibrate(network, _normals(n), _preprocessing, CalibratedInferer(_identity), _postprocessing, **kwargs)
    return network, report


def test_thresholds_are_those_of_the_raw_map_behind_the_postprocessing(tmp_path):
    network, report = _calibrated(12, max_fraction=0.2, output_json=tmp_path / "calibration.json")
    scale, scans = network.calibration.guaranteed, [_raw(e) for e in _normals(12)]
    for rate in (0.1, 0.05):
        threshold = np.float32(threshold_at(scale, rate))
        risks = [
            12 / 13 * np.mean([min((s >= t).mean(), 0.2) for s in scans]) + 0.2 / 13
            for t in (threshold, threshold - 1e-3)
        ]
        assert risks[0] <= rate + 1e-12 < risks[1]
    assert torch.isnan(scale.thresholds[-1])  # 0.2 / 13 > 1%
    expected = [top_fraction_mean(s) for s in scans]
    np.testing.assert_allclose(scale.scan_scores[:12].numpy(), expected, rtol=1e-6)
    # the pooled scale's scores went through the score and the smoothing, and back
    assert network.calibration.n_scans == 12
    np.testing.assert_allclose(network.calibration.scan_scores[:12].numpy(), expected, atol=0.06)
    written = json.loads((tmp_path / "calibration.json").read_text())["guaranteed"]
    assert written == report["guaranteed"]
    assert written["normal_scans_needed"] == {"0.01": 19}
    assert (written["n_scans"], written["max_fraction"]) == (12, 0.2)


def test_the_kind_of_threshold_does_not_change_the_calibration():
    network, _ = _calibrated(5)
    other = _Network()
    calibrate(other, _normals(5), _preprocessing, GuaranteedInferer(_identity), _postprocessing)
    for a, b in zip(network.state_dict().values(), other.state_dict().values()):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))


def _evaluate(network, tests, folder, inferer=GuaranteedInferer, rate=0.05, **kwargs):
    methods = {"model": inferer(_identity)}
    normals = _normals(12)
    return evaluate(network, methods, normals, tests, _preprocessing, _postprocessing, folder, rate=rate, **kwargs)


def test_evaluation_counts_what_the_guaranteed_mask_holds(tmp_path):
    network, _ = _calibrated(12, max_fraction=0.2)
    lifted = {"image": "lifted", "subject": "lifted", "seed": 90, "lift": 0.2, "scan_label": 1}
    report = _evaluate(network, [*_normals(6, 50), lifted], tmp_path)
    assert report["threshold"] == "guaranteed"
    scale, method = network.calibration.guaranteed, report["methods"]["model"]
    for scan, entry in zip(method["scans"], [*_normals(6, 50), lifted]):
        raw = _raw(entry)
        reached, allowed = (raw >= np.float32(threshold_at(scale, 0.05))).sum(), int(0.2 * len(raw))
        assert scan["found"] == min(reached, allowed)
        assert (scan["threshold_raised_to"] is not None) == (reached > allowed)
    assert {s["threshold_raised_to"] is not None for s in method["scans"][:-1]} == {False, True}
    assert method["scans"][-1]["threshold_raised_to"] > method["threshold_score"]
    assert method["scans"][-1]["scan_p_value"] == pytest.approx(1 / 13)
    p = np.array([s["scan_p_value"] for s in method["scans"][:-1]])
    expected = [
        (1 + sum(float(s) >= top_fraction_mean(_raw(e)) for s in scale.scan_scores[:12])) / 13 for e in _normals(6, 50)
    ]
    np.testing.assert_allclose(p, expected)
    assert method["scan_p_values"]["normal"] == [(p <= a).mean() for a in (0.05, 0.1, 0.2)]
    assert method["scan_p_values"]["lesion"] == [0.0, 1.0, 1.0]
    # the baselines go by the same rules
    assert {m["threshold"] for m in report["methods"].values()} == {"guaranteed"}
    assert len(report["methods"]) == 4
    assert json.loads((tmp_path / "evaluation.json").read_text())["methods"]["model"]["scan_p_values"]["alpha"]


def test_pooled_evaluation_has_p_values_and_no_cap(tmp_path):
    network, _ = _calibrated(12, max_fraction=0.01)
    lifted = {"image": "lifted", "subject": "lifted", "seed": 90, "lift": 0.2, "scan_label": 1}
    report = _evaluate(network, [*_normals(2, 50), lifted], tmp_path, CalibratedInferer, with_baselines=False)
    scans = report["methods"]["model"]["scans"]
    assert report["threshold"] == "pooled"
    assert scans[-1]["threshold_raised_to"] is None
    assert scans[-1]["found"] > 0.5 * len(_raw(lifted))
    assert all(1 / 13 <= s["scan_p_value"] <= 1 for s in scans)


def test_a_rate_that_the_scans_cannot_guarantee_is_refused(tmp_path):
    network, _ = _calibrated(12)
    with pytest.raises(CUASError, match="12 normal scans cannot guarantee the healthy rate 0.05 .* at least 19"):
        _evaluate(network, _normals(2, 50), tmp_path)
    with pytest.raises(CUASError, match="largest share of a brain"):
        _calibrated(3, max_fraction=2.0)


def test_mask_is_what_evaluation_counts():
    network, _ = _calibrated(12, max_fraction=0.2)
    scale = network.calibration.guaranteed
    for entry in (*_normals(3, 50), {"image": "l", "seed": 90, "lift": 0.2}):
        item = _preprocessing(entry)
        item["pred"] = CalibrateAnomaly(scale)(_postprocessing({**item, "pred": item["image"]})["anomaly"])
        item = ThresholdAnomalyd("pred", rate=0.05, scale=scale)(item)
        inside = np.asarray(item["pred"])[np.asarray(item["brain_mask"]) > 0]
        raw = _raw(entry)
        assert inside.sum() == min((raw >= np.float32(threshold_at(scale, 0.05))).sum(), int(0.2 * len(raw)))
        assert (item["pred_threshold"] > -np.log10(0.05)) == ("lift" in entry)


def test_calibration_counts_subjects_for_the_guarantee_and_for_p_values():
    sessions = [{**entry, "subject": f"s{k // 6}"} for k, entry in enumerate(_normals(12))]
    network, method = _Network(), CalibratedInferer(_identity)
    report = calibrate(network, sessions, _preprocessing, method, _postprocessing, max_fraction=0.1)
    assert (report["n_scans"], report["n_subjects"]) == (12, 2)
    assert (report["guaranteed"]["n_subjects"], network.calibration.guaranteed.n_scans) == (2, 2)
    assert network.calibration.n_scans == 2
    assert report["guaranteed"]["smallest_rate"] == pytest.approx(0.1 / 3)
