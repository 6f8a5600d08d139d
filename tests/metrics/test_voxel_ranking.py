# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_precision, compute_roc_auc

from monai_cuas.metrics import VoxelRankingMetric


def _measure(*batches):
    metric = VoxelRankingMetric()
    for scores, labels in batches:
        metric(np.asarray(scores, dtype=np.float32), np.asarray(labels, dtype=bool))
    return metric.aggregate()


def test_values_worked_out_by_hand():
    # descending 4(+) 3(-) 2(+) 1(-): precision 1, 1/2, 2/3; AP = (1 + 2/3)/2; 3 of 4 pairs in order; best Dice 4/5
    got = _measure(([4, 3, 2, 1], [1, 0, 1, 0]))
    assert got["auroc"] == pytest.approx(0.75)
    assert got["auprc"] == pytest.approx(5 / 6)
    assert got["oracle_dice"] == pytest.approx(0.8)
    assert got["oracle_iou"] == pytest.approx(2 / 3)
    assert got["oracle_threshold"] == 2.0
    assert got["prevalence"] == 0.5


@pytest.mark.parametrize("steps", [3, 50, 1024], ids=["many ties", "some ties", "few ties"])
def test_agrees_with_scikit_learn_and_monai(steps):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.1
    scores = (np.round((rng.normal(size=2000) + labels) * steps / 8) / 64).astype(np.float32)
    got = _measure((scores[:700], labels[:700]), (scores[700:], labels[700:]))
    assert got["auroc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-9)
    assert got["auprc"] == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-9)
    y_pred, y = torch.as_tensor(scores), torch.as_tensor(labels).int()
    assert got["auroc"] == pytest.approx(float(compute_roc_auc(y_pred, y)), abs=1e-5)
    if steps > 1000:
        assert got["auprc"] == pytest.approx(float(compute_average_precision(y_pred, y)), abs=2e-2)


def test_continuous_scores_lose_next_to_nothing():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    labels = rng.random(20000) < 0.02
    scores = (rng.gamma(2, size=20000) * np.where(labels, 2, 1) * 1e-6).astype(np.float32)
    got = _measure((scores, labels))
    assert got["auprc"] == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-3)
    assert got["auroc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-4)


def test_order_of_batches_and_signs_does_not_matter():
    first, second = ([-1.0, -0.0, 3.0], [0, 1, 1]), ([0.0, -2.0], [0, 0])
    assert _measure(first, second) == _measure(second, first)
    # 3(+), then 0(+) tied with 0(-), then the negatives: 2 positives x 3 negatives, one tie
    assert _measure(first, second)["auroc"] == pytest.approx(5.5 / 6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_nan(label):
    assert all(math.isnan(v) for v in _measure(([1, 2], [label, label])).values())


def test_memory_does_not_grow():
    metric = VoxelRankingMetric()
    for _ in range(5):
        metric(np.linspace(1, 2, 100_000, dtype=np.float32), np.zeros(100_000, dtype=bool))
    assert len(metric.bins) <= 2049
    assert metric.negatives.sum() == 500_000
    metric.reset()
    assert not len(metric.bins)


def test_nan_and_shapes_are_refused():
    metric = VoxelRankingMetric()
    with pytest.raises(ValueError, match="NaN"):
        metric(np.array([np.nan]), np.array([True]))
    with pytest.raises(ValueError, match="same shape"):
        metric(np.zeros(2), np.zeros(3))
