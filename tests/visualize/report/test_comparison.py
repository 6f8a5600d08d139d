# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_cuas.visualize.comparison import RECALL_GRID
from monai_cuas.visualize.report import ReportTable, write_comparison_report

TABLES = [
    ReportTable("All methods", "At 1%.", ["method", "AUPRC"], [["<u>mine", "0.61 ± 0.02"], ["raw", "0.22"]]),
    ReportTable("Over patients", "", ["method", "p"], [["<u>mine", "0.03"]]),
]


def test_tables_charts_and_what_failed(tmp_path):
    curves = {"<u>mine": [1 - RECALL_GRID, 0.8 - 0.5 * RECALL_GRID], "raw": [0.3 - 0.3 * RECALL_GRID]}
    lists = {"Failed": ["gone, seed 1: no memory"], "Not done yet": []}
    dice = {"<u>mine": [0.3, 0.6], "raw": []}
    html = write_comparison_report(tmp_path, TABLES, curves, dice, lists).read_text()
    assert html.count("<table") == 2
    assert "<td>&lt;u&gt;mine</td><td>0.61 ± 0.02</td>" in html
    assert "<u>mine" not in html
    assert html.count('<figure class="chart">') == 2
    assert "gone, seed 1: no memory" in html
    assert "Not done yet" not in html
    assert "There is no panel" in html
    (tmp_path / "panel.png").write_bytes(b"png")
    html = write_comparison_report(tmp_path, TABLES[:1], {}, {}, {}).read_text()
    assert 'src="data:image/png;base64,' in html
    assert "chart" not in html.split("<body>")[1].replace('class="charts"', "")


def test_runs_of_one_method_are_of_one_length(tmp_path):
    with pytest.raises(ValueError, match="same shape"):
        write_comparison_report(tmp_path, TABLES, {"a": [np.zeros(3), np.zeros(4)]}, {}, {})
