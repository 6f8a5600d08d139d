# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_cuas.visualize.comparison import (
    RECALL_GRID,
    draw_precision_recall,
    load_panel_rows,
    merge_panel_rows,
    save_panel_rows,
    thin_curve,
)


def test_curve_by_hand():
    # four lesion voxels: found as 1 of 1, 2 of 4, 4 of 8
    curve = thin_curve(np.array([1, 2, 4]), np.array([0, 2, 4]))
    assert curve[RECALL_GRID <= 0.25].tolist() == [1.0] * 51
    assert curve[(RECALL_GRID > 0.25) & (RECALL_GRID <= 0.5)].tolist() == [0.5] * 50
    assert curve[-1] == 0.5
    assert thin_curve(np.array([0, 0]), np.array([1, 2])) is None
    assert thin_curve(np.array([]), np.array([])) is None


def _row(title: str, method: str, value: float) -> dict:
    scan = np.linspace(0, 1, 48).reshape(6, 8)
    return {
        "title": title,
        "scan": scan,
        "label": scan > 0.9,
        "brain": scan > 0.1,
        "aspect": 1.5,
        "maps": {method: np.full((6, 8), value)},
    }


def test_panel_rows_survive_the_file_and_are_merged(tmp_path):
    save_panel_rows(tmp_path / "a.npz", [_row("s1", "A", 0.25), _row("s2", "A", 0.5)])
    save_panel_rows(tmp_path / "b.npz", [_row("s2", "B/x", 2.0)])
    rows = {"A": load_panel_rows(tmp_path / "a.npz"), "B/x": load_panel_rows(tmp_path / "b.npz")}
    assert rows["A"][0]["aspect"] == 1.5
    np.testing.assert_array_equal(rows["A"][0]["scan"], _row("s1", "A", 0)["scan"])
    merged = merge_panel_rows(rows)
    assert [row["title"] for row in merged] == ["s2"]
    assert {name: float(m.max()) for name, m in merged[0]["maps"].items()} == {"A": 0.5, "B/x": 2.0}


@pytest.mark.parametrize("n", [1, 14])
def test_plot_of_many_methods(tmp_path, n):
    curves = {f"method {k}": [np.linspace(1, k / 20, 201), np.linspace(0.9, 0, 201)] for k in range(n)}
    draw_precision_recall(tmp_path / "pr.png", curves)
    picture = np.asarray(Image.open(tmp_path / "pr.png").convert("RGB")).reshape(-1, 3)
    # each line has a colour of the cycle of ten
    saturated = {tuple(c) for c in picture[np.ptp(picture.astype(int), axis=1) > 60]}
    assert len(saturated) >= min(n, 10)
