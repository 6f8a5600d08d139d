# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from monai_cuas.metrics import SIZE_BINS
from monai_cuas.visualize.report import evaluation as page
from monai_cuas.visualize.report import keep_evaluated, remove_evaluated, write_evaluation_report

SIZES = {f"n_lesions {size}": 3 for size in SIZE_BINS} | {f"lesion_recall {size}": 0.5 for size in SIZE_BINS}


def _method(auprc: float, dice: list[float]) -> dict:
    scans = [
        {"name": "sick <b>", "diseased": True, "scan_p_value": 0.05, "scan_score": 3.0, "dice": dice[0], "fpr": 0.02},
        {
            "name": "normal",
            "diseased": False,
            "scan_p_value": 0.9,
            "scan_score": 1.0,
            "dice": float("nan"),
            "fpr": 0.004,
        },
        {"name": "sicker", "diseased": True, "scan_p_value": 0.01, "scan_score": 4.0, "dice": dice[1], "fpr": 0.01},
    ]
    figures = {
        "auprc": auprc,
        "dice_pooled": 0.4,
        "oracle_dice": 0.5,
        "lesion_recall": 0.5,
        "fp_per_scan": 2.0,
        **SIZES,
    }
    patients = [{"patient": k, "dice": value, "auprc": auprc} for k, value in enumerate(dice)]
    return {
        "groups": {"all lesions": {**figures, **SIZES}},
        "intervals": {"auprc": (0.1, 0.7)},
        "patients": patients,
        "scans": scans,
    }


def _report(**more) -> dict:
    methods = {"mine": _method(0.61, [0.3, 0.6]), "raw intensity": _method(0.22, [0.1, 0.2])}
    against = {"raw intensity": {"dice": {"p": 0.031}}}
    return {"rate": 0.01, "threshold": "pooled", "methods": methods, "against_first": against, "failed": [], **more}


def _curves() -> dict:
    recall = np.linspace(0, 1, 5).tolist()
    froc = {"rate": [0.1, 0.01, 0.001], "recall": [1.0, 0.5, 0.0], "fp_per_scan": [9.0, 2.0, 0.0]}
    dice = {"rate": [0.1, 0.01, 0.001], "dice": [0.2, 0.4, 0.5]}
    return {
        name: {"recall": recall, "precision": recall[::-1], "dice": dice, "froc": froc}
        for name in ("mine", "raw intensity")
    }


@pytest.fixture
def kept(tmp_path):
    rng = np.random.default_rng(0)
    scan, brain = rng.uniform(10, 100, (20, 24, 8)), np.ones((20, 24, 8), dtype=np.uint8)
    anomaly, truth = np.zeros(scan.shape, dtype=np.float32), np.zeros(scan.shape, dtype=bool)
    anomaly[5:9, 5:9, 3:5], truth[6:10, 6:10, 3:5] = 3.0, True
    for k in range(3):
        keep_evaluated(tmp_path, k, scan, anomaly, brain, np.diag([2.0, 2, 4, 1]), 2.0, truth)
    return tmp_path


def test_a_page_of_its_own_that_asks_for_nothing(kept):
    path = write_evaluation_report(kept, _report(), _curves())
    html = path.read_text()
    assert path.name == "report.html"
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    assert "sick &lt;b&gt;" in html
    assert "<b>sick" not in html
    assert html.count("<img alt") == 3
    # six charts, each one well-formed
    charts = re.findall(r"<figure class=\"chart\">.*?(<svg.*?</svg>)\s*</figure>", html, flags=re.S)
    assert len(charts) == 6
    assert all(ElementTree.fromstring(chart).tag.endswith("svg") for chart in charts)


def test_the_most_unusual_scan_stands_first_with_its_own_picture(kept):
    (kept / page.EVALUATED_SCANS / "2.png").unlink()
    html = write_evaluation_report(kept, _report(), _curves()).read_text()
    order = re.findall(r'<section class="scan" id="scan\d"><h2>(.*?)</h2>(.)', html)
    assert [name for name, _ in order] == ["sicker", "sick &lt;b&gt;", "normal"]
    assert "There is no picture of this scan" in html.split('id="scan0"')[-1].split("</section>")[0]


def test_figures_with_interval_and_test(kept):
    html = write_evaluation_report(kept, _report(), _curves()).read_text()
    head = html.split('<table id="figures">')[1].split("</table>")[0]
    assert "0.610 <small>(0.100 to 0.700)</small>" in head
    assert "0.031" in head
    assert "oracle Dice" in head
    # nothing of what no scan has
    assert "scan AUROC" not in head


def test_left_out_scans_are_said_without_their_folders(kept):
    failed = [["/home/doe^john/x.nii", "/home/doe^john/x.nii: all voxels are zero; export it again."]]
    html = write_evaluation_report(kept, _report(failed=failed), _curves()).read_text()
    assert "x.nii: all voxels are zero" in html
    assert "doe^john" not in html


def test_beside_the_page_of_inference_it_has_another_name(kept):
    (kept / "results.csv").write_text("name\n")
    (kept / "report.html").write_text("of infer")
    assert write_evaluation_report(kept, _report(), _curves()).name == "evaluation.html"
    assert (kept / "report.html").read_text() == "of infer"


def test_of_slice_labels_alone_or_of_normals_alone(kept):
    report = _report()
    for method in report["methods"].values():
        method["groups"], method["patients"] = {"all lesions": {"n_scans": 0}}, []
    html = write_evaluation_report(
        kept, report, {name: {"froc": {"rate": []}} for name in report["methods"]}
    ).read_text()
    assert html.count('<figure class="chart">') == 1
    assert "Each normal test scan" in html


def test_volumes_carry_the_truth_where_there_is_a_viewer(kept, monkeypatch):
    monkeypatch.setattr(page, "has_viewer", lambda: True)
    rng, brain = np.random.default_rng(0), np.ones((8, 8, 4), dtype=np.uint8)
    truth = rng.uniform(size=brain.shape) > 0.5
    keep_evaluated(kept, 0, rng.uniform(size=brain.shape), np.zeros(brain.shape), brain, np.eye(4), 2.0, truth)
    assert json.loads((kept / page.EVALUATED_SCANS / "0.json").read_text())["layers"][-1] == "truth"
    remove_evaluated(kept)
    assert not list((kept / page.EVALUATED_SCANS).iterdir())
