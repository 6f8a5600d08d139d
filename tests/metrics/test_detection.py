# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest

from monai_cuas.metrics import detection_auroc, slice_scores, spread, top_fraction_mean


@pytest.mark.parametrize(("fraction", "expected"), [(0.001, 100.0), (0.02, 99.5), (1.0, 50.5)])
def test_top_fraction_mean(fraction, expected):
    assert top_fraction_mean(np.arange(1, 101), fraction) == pytest.approx(expected)


def test_top_fraction_mean_of_nothing_is_nan():
    assert math.isnan(top_fraction_mean(np.zeros(0)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_with_too_little_brain_do_not_count(axis):
    brain = np.zeros((3, 10, 10), dtype=np.uint8)
    brain[0, :5, :5], brain[1], brain[2, 0, 0] = 1, 1, 1
    anomaly = np.zeros((3, 10, 10))
    anomaly[1, 3, 3], anomaly[0, 9, 9] = 7, 9  # the 9 lies outside the brain
    got = slice_scores(np.moveaxis(anomaly, 0, axis), np.moveaxis(brain, 0, axis), axis)
    assert got == {0: 0.0, 1: 7.0}


def test_slices_by_their_spread():
    anomaly = np.stack([np.zeros((4, 4)), np.arange(16.0).reshape(4, 4)])
    found = slice_scores(anomaly, np.ones((2, 4, 4)), 0, score=spread)
    assert found == {0: 0.0, 1: pytest.approx(np.arange(16).std())}
    assert math.isnan(spread(np.zeros(0)))


def test_detection_auroc():
    assert detection_auroc([1, 3, 2, 4], [False, True, False, True]) == 1.0
    assert detection_auroc([2, 1, 3], [True, False, False]) == 0.5
    assert math.isnan(detection_auroc([1, 2], [True, True]))
