# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The guaranteed threshold against brute force, and its guarantee on simulated scans that differ a lot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cuas.calibration.fit import conformal_quantile
from monai_cuas.calibration.risk_control import ExceedanceCurve, guaranteed_threshold, require_fraction
from monai_cuas.networks.layers import GuaranteedCalibration
from monai_cuas.utils import CUASError


def _brute(scans, rate, bound):
    """The definition, tried at every value; infinity if not even the highest value is low enough."""
    n = len(scans)
    for t in sorted({float(v) for scan in scans for v in scan}):
        losses = [min(np.mean(scan >= np.float32(t)), bound) for scan in scans]
        if n / (n + 1) * np.mean(losses) + bound / (n + 1) <= rate + 1e-12:
            return t
    return np.inf


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "rate", "bound"), [(3, 0.4, 1.0), (9, 0.1, 1.0), (5, 0.1, 0.3), (12, 0.05, 0.2)])
def test_threshold_is_the_smallest_that_brute_force_finds(ties, n, rate, bound):
    generator = np.random.default_rng(n)
    scans = [generator.normal(size=int(generator.integers(5, 40))).astype(np.float32) for _ in range(n)]
    if ties:
        scans = [np.round(scan, 1) for scan in scans]
    expected = _brute(scans, rate, bound)
    found = guaranteed_threshold([ExceedanceCurve.of(scan) for scan in scans], rate, bound)
    highest = max(scan.max() for scan in scans)
    assert found == pytest.approx(expected) if np.isfinite(expected) else found > highest


def test_example_by_hand():
    # 4 scans of 10 voxels; B = 1, rate 0.3: mean share <= (0.3 - 1/5) * 5/4 = 0.125, so 5 voxels of 40 may be found
    scans = [np.arange(10.0) + k / 10 for k in range(4)]
    assert guaranteed_threshold([ExceedanceCurve.of(s) for s in scans], 0.3) == pytest.approx(8.3)
    assert (np.concatenate(scans) >= 8.3).sum() == 5


@pytest.mark.parametrize(("n", "bound"), [(98, 1.0), (99, 1.0), (8, 0.1), (9, 0.1)])
def test_fewest_scans_for_one_percent(n, bound):
    curves = [ExceedanceCurve.of(np.arange(50.0)) for _ in range(n)]
    threshold = guaranteed_threshold(curves, 0.01, bound)
    if n in (98, 8):
        assert np.isnan(threshold)
    else:  # nothing of the calibration scans may be found
        assert 49 < threshold < 49.01


def test_curve_never_understates_and_is_close():
    values = np.random.default_rng(0).gamma(1.0, size=200_000).astype(np.float32)
    curve = ExceedanceCurve.of(values)
    thresholds = np.concatenate([np.quantile(values, np.linspace(0, 1, 500)), values[:500], [-1, 1e9]])
    ordered = np.sort(values)
    true = 1 - np.searchsorted(ordered, thresholds.astype(np.float32)) / len(values)
    stated = curve(thresholds.astype(np.float32))
    assert (stated >= true - 1e-12).all()
    assert (stated <= true * 1.0021 + 1e-12).all()
    assert len(curve.knots) < 5000


@pytest.mark.parametrize("value", [0.0, -0.1, 1.01])
def test_bound_outside_its_range(value):
    with pytest.raises(CUASError, match="max_fraction is the largest share"):
        require_fraction(value)
    assert require_fraction(None) == 1.0


def _scans(generator, n, voxels=400):
    """Healthy scans of which one in seven is alarmed all over: their tail differs by far more than voxels tell."""
    shift = np.where(generator.random(n) < 1 / 7, 3.0, 0.0) + generator.normal(0, 0.3, n)
    return generator.normal(size=(n, voxels)).astype(np.float32) + shift[:, None].astype(np.float32)


def test_guarantee_holds_where_the_pooled_threshold_fails():
    generator, rate, bound, n = np.random.default_rng(1), 0.05, 0.3, 10
    scale = GuaranteedCalibration()
    scale.max_fraction.fill_(bound)
    guaranteed, pooled = [], []
    for _ in range(1500):
        scans = _scans(generator, n + 1)
        known, new = scans[:n], scans[n]
        threshold = guaranteed_threshold([ExceedanceCurve.of(s) for s in known], rate, bound)
        own = scale.scan_threshold(torch.as_tensor(new), threshold)
        guaranteed.append((new >= np.float32(own)).mean())
        pooled.append((new >= conformal_quantile(np.sort(known, axis=None), rate)).mean())
    error = np.std(guaranteed) / np.sqrt(len(guaranteed))
    assert max(guaranteed) <= bound
    assert np.mean(guaranteed) < rate + 2 * error
    # not by finding nothing: at most 2 B / (n + 1) is given away
    assert np.mean(guaranteed) > rate - 2 * bound / (n + 1) - 2 * error
    assert np.mean(pooled) > 1.3 * rate
    assert np.mean(pooled) - 3 * np.std(pooled) / np.sqrt(len(pooled)) > rate


def test_sessions_of_a_subject_are_not_counted_as_further_subjects():
    # sessions of a subject are alike: two subjects with six each know as little as two scans
    generator, rate, bound = np.random.default_rng(1), 0.05, 0.09
    realised: dict[str, list[float]] = {"scans": [], "subjects": []}
    for _ in range(400):
        levels = np.exp(generator.normal(0.0, 3.0, 3))
        curves = [ExceedanceCurve.of(level * generator.gamma(2.0, size=300)) for level in levels for _ in range(6)]
        owners = [str(k) for k in range(2) for _ in range(6)]
        for how, whose in (("scans", None), ("subjects", owners)):
            threshold = guaranteed_threshold(curves[:12], rate, bound, whose)
            realised[how].append(float(np.mean([min(float(curve(threshold)), bound) for curve in curves[12:]])))
    mean = {how: np.mean(values) for how, values in realised.items()}
    error = {how: np.std(values) / np.sqrt(len(values)) for how, values in realised.items()}
    assert mean["scans"] > rate + error["scans"]
    assert mean["subjects"] < rate
    assert 0.2 * rate < mean["subjects"]


def test_a_subjects_scans_weigh_as_one_and_too_few_subjects_support_nothing():
    generator = np.random.default_rng(2)
    curves = [ExceedanceCurve.of(generator.normal(size=200)) for _ in range(9)]
    assert np.isnan(guaranteed_threshold(curves, 0.1, 1.0, ["a"] * 9))
    assert guaranteed_threshold(curves, 0.1) == guaranteed_threshold(curves, 0.1, 1.0, list("abcdefghi"))
    # a scan that is there twice is not two subjects
    three = curves[:3]
    once = guaranteed_threshold(three, 0.3, 1.0, list("abc"))
    assert guaranteed_threshold([*three, three[0]], 0.3, 1.0, list("abca")) == once
