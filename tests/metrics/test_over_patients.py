# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, wilcoxon

from monai_cuas.metrics import mean_interval, paired_test, patient_interval

VALUES = np.random.default_rng(3).uniform(0.2, 0.9, 12)


def test_the_interval_of_a_mean_is_that_of_scipy():
    ours = mean_interval(VALUES, 500)
    theirs = bootstrap((VALUES,), np.mean, random_state=0, n_resamples=500).confidence_interval
    assert ours == pytest.approx((VALUES.mean(), *theirs))
    assert ours == mean_interval([*VALUES, None, math.nan], 500)


def test_a_ratio_of_sums_is_drawn_by_patient():
    """One patient has nearly all lesions: whether he is drawn decides."""
    found, all_of = np.array([90.0, 0, 0, 0, 0]), np.array([100.0, 1, 1, 1, 1])
    low, high = patient_interval(lambda times: (times @ found) / (times @ all_of), 5, 500)
    assert low < 0.01
    assert 0.88 < high <= 0.9


def test_draws_without_a_figure_are_passed_over():
    """Of a patient with normal scans alone, and three with lesions, some draws have no lesion."""
    hit, n = np.array([1.0, 2, 3, 0]), np.array([4.0, 4, 4, 0])
    low, high = patient_interval(lambda times: (times @ hit) / (times @ n), 4, 500)
    assert 0.2 <= low < 0.5 < high <= 0.75


def test_the_same_value_of_all_has_an_interval_of_no_width():
    assert mean_interval([0.5] * 4, 200) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.4], [0.4, 0.6]])
def test_few_patients_have_no_interval(values):
    mean, low, high = mean_interval(values)
    assert math.isnan(low)
    assert math.isnan(high)
    assert mean == pytest.approx(np.mean(values)) if values else math.isnan(mean)


def test_paired_test_by_scipy():
    other = VALUES - np.linspace(-0.02, 0.2, 12)
    found = paired_test(VALUES, other)
    assert found["n_patients"] == 12
    assert found["difference"] == pytest.approx(0.09)
    assert 0 < found["low"] < 0.09 < found["high"]
    assert found["p"] == wilcoxon(VALUES, other).pvalue < 0.05


def test_patients_that_one_method_has_no_figure_of_are_left_out():
    found = paired_test([0.5, None, 0.7, 0.9, 0.4], [0.4, 0.1, math.nan, 0.8, 0.3])
    assert found["n_patients"] == 3
    assert found["difference"] == pytest.approx(0.1)
    assert found["p"] == pytest.approx(0.25)  # the least that three can give


def test_no_difference_and_too_few():
    assert paired_test([0.5] * 5, [0.5] * 5)["p"] == 1.0
    assert math.isnan(paired_test([0.5], [0.4])["p"])
    assert paired_test([], [])["n_patients"] == 0
    with pytest.raises(ValueError, match="3 and of 2 patients"):
        paired_test([1, 2, 3], [1, 2])
