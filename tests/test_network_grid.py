# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What the benchmarks on the network's grid share: figures of a map, intervals, rows that are there already."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from .benchmark_modules import FOLDER, benchmark

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's benchmarks")


@pytest.fixture(scope="module")
def grid():
    with benchmark("network_grid") as module:
        yield module


def test_figures_of_a_map_that_ranks_perfectly(grid):
    label = np.zeros((12, 20, 20), dtype=bool)
    label[4:7, 5:9, 5:9] = True
    inside = np.ones_like(label)
    judge = grid.Judge(threshold=0.5)
    judge.add(np.where(label, 1.0, 0.1), inside, label, slice(1, 11))
    judge.add(np.where(label, 1.0, 0.1), inside, label, slice(8, 18))
    figures = judge.figures()
    assert figures["all"]["auprc"] == figures["all"]["dice"] == figures["all"]["oracle_dice"] == 1.0
    assert figures["ten"]["auprc"] == 1.0
    assert figures["slice_auroc_std"] == figures["slice_auroc_top"] == 1.0
    assert figures["patient_auprc"][0] == 1.0
    assert figures["patients"] == {"auprc": [1.0, 1.0], "dice": [1.0, 1.0]}
    # the lesion that is cut off is missed: half of it by the first of two columns
    cut = np.where(np.arange(20) < 7, grid.CUT_OFF, np.where(label, 1.0, 0.1))
    judge = grid.Judge(threshold=0.5)
    judge.add(cut, inside, label, slice(0, 10))
    assert judge.figures()["all"]["dice"] == pytest.approx(2 / 3)
    assert judge.figures()["all"]["auprc"] < 0.6


def test_an_interval_holds_the_mean_and_is_not_known_of_two(grid):
    mean, low, high = grid.interval([0.1, 0.2, 0.6, float("nan")])
    assert mean == pytest.approx(0.3)
    assert 0.1 <= low < mean < high <= 0.6
    assert [math.isnan(v) for v in grid.interval([0.1, 0.2])] == [False, True, True]
    assert grid.interval_text([0.25, None, None]) == "0.250"


class _Bench:
    """Two calibration scans, of which one has a lesion, and a test scan."""

    def __init__(self, grid):
        def scan(lesion):
            image = torch.linspace(0.1, 0.9, 400).view(4, 1, 10, 10)
            label = torch.zeros(4, 1, 10, 10, dtype=torch.bool)
            label[3] = lesion
            return grid.Scan(image, image > 0, label, slice(0, 4), image.permute(1, 2, 3, 0)[None])

        self.calibration, self.tests = [scan(False), scan(True)], {"lgg": [scan(True)]}

    def judged_scans(self):
        return [*self.calibration, *self.tests["lgg"]]


def test_the_threshold_is_of_slices_without_a_lesion(grid):
    bench, asked = _Bench(grid), []

    def make(scan):
        asked.append(scan)
        return scan.image[:, 0].numpy()

    known = grid.made_once(make, bench)
    figures = grid.judged(known, bench)["lgg"]
    assert len(asked) == 3
    # 700 normal voxels, 300 of them twice: the highest ones are of the slice that is a lesion in the other scan
    values = np.concatenate([np.linspace(0.1, 0.9, 400), np.linspace(0.1, 0.9, 400)[:300]])
    threshold = np.quantile(values.astype(np.float32), 0.99)
    found = np.linspace(0.1, 0.9, 400) > threshold
    assert figures["all"]["dice"] == pytest.approx(2 * found.sum() / (found.sum() + 100))
    assert figures["all"]["auprc"] == 1.0


def test_a_volume_becomes_slices_first(grid):
    scan = _Bench(grid).calibration[0]
    made = grid.inferred(lambda volume, network: volume * network, 2.0)(scan)
    np.testing.assert_array_equal(made, 2 * scan.image[:, 0].numpy())


def test_a_finished_row_is_known_by_sequence_seed_and_steps(grid, tmp_path):
    results = grid.Results(tmp_path / "new", "flair")
    assert not results.has("vae", 0, 6)
    results.add("vae", 0, 6, loss=float("inf"), curve=[0.123456789])
    assert results.has("vae", 0, 6)
    assert not results.has("vae", 1, 6)
    assert not grid.Results(tmp_path / "new", "t1").has("vae", 0, 6)
    assert results.rows()[0]["loss"] is None
    assert results.rows()[0]["curve"] == [0.123457]
