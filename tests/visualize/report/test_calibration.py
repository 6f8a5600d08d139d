# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from monai_cuas.visualize.report import write_calibration_report


def _report(**more) -> dict:
    found = {"mean": 0.011, "max": 0.034, "by_scan": {"a": 0.034, "<i>b": 0.0}}
    report = {
        "n_scans": 2,
        "n_subjects": 2,
        "n_voxels": 12345,
        "thresholds": {"0.5": 0.1, "0.01": 0.43},
        "unsupported_rates": [0.001],
        "realised_rate_note": "in-sample",
        "realised_rate_on_calibration_scans": {"0.01": found},
        "scan_scores": {"by_scan": {"a": 2.2, "<i>b": 1.1}},
        "guaranteed": {"thresholds": {"0.5": 0.2}, "normal_scans_needed": {"0.01": 99}},
        "failed": [["/data/doe^john/c.nii", "/data/doe^john/c.nii: all voxels are zero; export it again."]],
    }
    return {**report, **more}


def test_thresholds_rates_guarantee_and_what_was_left_out(tmp_path):
    html = write_calibration_report(tmp_path / "m_calibration.html", _report()).read_text()
    thresholds = html.split('<table id="thresholds">')[1].split("</table>")[0]
    assert "<td>1.00%</td><td>1 in 100</td><td>0.43</td><td>1.10%</td><td>3.40%</td>" in thresholds
    # a rate that no scan was counted at has no share
    assert "<td>50.00%</td><td>1 in 2</td><td>0.1</td><td></td><td></td>" in thresholds
    assert "0.10%: they have no threshold" in html
    assert "needs 99 normal subjects" in html
    assert html.count('<figure class="chart">') == 2
    assert "c.nii: all voxels are zero" in html
    assert "doe^john" not in html
    assert "<i>b" not in html


def test_nothing_is_said_of_what_is_not(tmp_path):
    report = _report(unsupported_rates=[], failed=[], realised_rate_on_calibration_scans={})
    html = write_calibration_report(tmp_path / "m.html", report).read_text()
    assert "they have no threshold" not in html
    assert "Left out" not in html
