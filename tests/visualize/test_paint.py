# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_cuas.visualize.paint import paint

SCAN = np.linspace(0, 1000, 60, dtype=np.float32).reshape(5, 4, 3)


def _painted(score: float) -> np.ndarray:
    return paint(SCAN, np.full(SCAN.shape, score, np.float32))


def test_what_is_as_in_health_stays_grey():
    """Up to one in ten, and what is no number; brighter voxels stay brighter."""
    anomaly = np.full(SCAN.shape, 0.9, np.float32)
    anomaly[0, 0] = np.nan, np.inf, 0.0
    painted = paint(SCAN, anomaly)
    assert painted.shape == (*SCAN.shape, 3)
    assert painted.dtype == np.uint8
    assert (painted == painted[..., :1]).all()
    assert (np.diff(painted[..., 0].ravel().astype(int)) >= 0).all()
    assert painted[-1, -1, -1, 0] == 255


def test_red_then_yellow():
    faint, strong, most = (_painted(score).astype(int) for score in (1.5, 2.5, 4.0))
    dark = np.s_[0, 0, 0]
    assert 0 < faint[dark][0] < strong[dark][0]
    assert faint[dark][2] == strong[dark][2] == 0
    assert strong[dark][1] < strong[dark][0]
    assert most[dark][0] == most[dark][1] > 150
    # the scan is seen through the strongest colour
    assert most[-1, -1, -1][2] > most[dark][2]
    np.testing.assert_array_equal(most, _painted(30.0))


def test_an_empty_map_and_another_shape():
    assert _painted(0.0).any()
    with pytest.raises(ValueError, match="one shape"):
        paint(SCAN, np.zeros((5, 4, 2), np.float32))
