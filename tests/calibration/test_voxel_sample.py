# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The calibration's memory has a bound, and each scan keeps its weight within it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cuas.calibration.fit import _VoxelSample
from monai_cuas.metrics import top_fraction_mean


def _sample(most: int, scans: int = 40) -> _VoxelSample:
    """Two kinds of scans in turn: 3000 voxels around 0, and 1000 around 1."""
    sample, draw = _VoxelSample(5000, 0, most), np.random.default_rng(1)
    for n in range(scans):
        scores = torch.from_numpy(draw.normal(n % 2, 0.1, 1000 if n % 2 else 3000).astype(np.float32))
        sample.add(f"s{n}", f"s{n}", scores, torch.ones(len(scores)), top_fraction_mean)
    return sample


def test_a_sample_is_bounded_whatever_the_number_of_scans():
    sizes = [len(_sample(10_000, scans).sorted()) for scans in (4, 40, 80)]
    assert sizes[0] == 8000
    assert all(5000 <= size <= 10_000 for size in sizes[1:])


def test_each_scan_keeps_its_weight_and_what_is_known_of_it():
    whole, bounded = _sample(10**9), _sample(10_000)
    assert len(whole.sorted()) == 80_000
    assert (bounded.sorted() > 0.5).mean() == pytest.approx(0.25, abs=0.01)
    assert np.quantile(bounded.sorted(), 0.9) == pytest.approx(np.quantile(whole.sorted(), 0.9), abs=0.02)
    assert bounded.scan_scores == whole.scan_scores
    np.testing.assert_allclose(bounded.exceedance(0.5), whole.exceedance(0.5), atol=0.02)


def test_few_scans_are_kept_whole():
    np.testing.assert_array_equal(_sample(10**9, 6).sorted(), _sample(12_000, 6).sorted())
