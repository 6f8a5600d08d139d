# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_cuas.metrics import FreeResponse


def _scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two lesions, one at a score of 2.5 and one at 1.2, and two false positives, at 3.5 and 1.5."""
    anomaly, truth = np.zeros((20, 20, 8), dtype=np.float32), np.zeros((20, 20, 8), dtype=bool)
    brain = np.zeros_like(truth)
    brain[1:19, 1:19, 1:7] = True
    for corner, value, real in (
        ((2, 2), 2.5, True),
        ((2, 12), 1.2, True),
        ((12, 2), 3.5, False),
        ((12, 12), 1.5, False),
    ):
        window = (slice(corner[0], corner[0] + 3), slice(corner[1], corner[1] + 3), slice(2, 5))
        anomaly[window] = value
        truth[window] |= real
    return anomaly, truth, brain


def test_points_by_hand():
    free = FreeResponse((0.1, 0.05, 0.01, 0.001))
    free.add(*_scan())
    # a normal scan without anything found
    free.add(np.zeros((20, 20, 8)), np.zeros((20, 20, 8), dtype=bool), _scan()[2])
    curve = free.curve()
    assert curve["rate"] == [0.1, 0.05, 0.01, 0.001]
    assert curve["recall"] == [1.0, 0.5, 0.5, 0.0]
    assert curve["fp_per_scan"] == [1.0, 1.0, 0.5, 0.5]


def test_ignored_voxels_make_no_false_positive():
    anomaly, truth, brain = _scan()
    ignored = np.zeros_like(truth)
    ignored[12:15, 2:5, 2:5] = True
    free = FreeResponse((0.001,))
    free.add(anomaly, truth, brain, ignored)
    assert free.curve()["fp_per_scan"] == [0.0]


def test_the_box_changes_nothing():
    anomaly, truth, brain = _scan()
    # a lesion that is drawn beyond the brain is still one lesion
    truth[0:3, 2:5, 2:5] = True
    whole, padded = FreeResponse(), FreeResponse()
    whole.add(anomaly, truth, brain)
    padded.add(*(np.pad(volume, 5) for volume in (anomaly, truth, brain)))
    assert whole.curve() == padded.curve()
    assert whole.curve()["recall"][0] == 1.0


@pytest.mark.parametrize("scans", [0, 2])
def test_without_a_lesion_there_is_no_curve(scans):
    free = FreeResponse()
    for _ in range(scans):
        free.add(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool), np.ones((4, 4, 4), dtype=bool))
    assert free.curve() == {"rate": [], "recall": [], "fp_per_scan": []}
