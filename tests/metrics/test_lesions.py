# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.panoptic_quality import compute_panoptic_quality
from scipy.ndimage import gaussian_filter

from monai_cuas.metrics import equivalent_diameter, label_components, match_lesions, size_bin

SHAPE = (20, 20, 12)
BRAIN = np.ones(SHAPE, dtype=bool)


def _boxes(*boxes) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


A, B, C = np.s_[1:5, 1:5, 1:5], np.s_[10:12, 10:12, 6:8], np.s_[16:19, 1:4, 8:11]


@pytest.mark.parametrize(("size", "name"), [(4.9, "<5 mm"), (5, "5-10 mm"), (19, "10-20 mm"), (20, ">=20 mm")])
def test_size_bin(size, name):
    assert size_bin(size) == name


def test_equivalent_diameter():
    assert equivalent_diameter(4 / 3 * np.pi * 5**3 / 1000) == pytest.approx(10)


def test_parts_that_meet_at_a_corner_are_one():
    assert label_components(_boxes(np.s_[1:3, 1:3, 1:3], np.s_[3:5, 3:5, 3:5]))[1] == 1
    assert label_components(_boxes(np.s_[1:3, 1:3, 1:3], np.s_[4:5, 3:5, 3:5]))[1] == 2


def test_figures_by_hand():
    """A is found by three quarters, B is missed, and there is a part elsewhere."""
    found = _boxes(np.s_[1:4, 1:5, 1:5], C)
    match = match_lesions(found, _boxes(A, B), BRAIN, voxel_ml=0.5)
    assert match.volume_ml == [32.0, 4.0]
    assert match.found == [True, False]
    assert match.dice == pytest.approx([2 * 48 / (64 + 48), 0.0])
    assert (match.components, match.false_positives, match.outside) == (2, 1, 0)
    assert match.matched_iou == pytest.approx([0.75])


def test_several_parts_of_one_lesion_are_taken_together_and_no_false_positives():
    match = match_lesions(_boxes(np.s_[1:5, 1:5, 1:2], np.s_[1:5, 1:5, 3:5]), _boxes(A), BRAIN)
    assert (match.components, match.false_positives) == (2, 0)
    assert match.dice == pytest.approx([2 * 48 / (64 + 48)])
    assert match.matched_iou == []  # one part is just half of it, which is no match


def test_one_part_over_two_lesions_finds_both_and_matches_the_large_one():
    match = match_lesions(_boxes(A, np.s_[4:11, 4:11, 4:7], B), _boxes(A, B), np.ones(SHAPE, bool))
    assert match.found == [True, True]
    assert (match.components, match.false_positives) == (1, 0)
    assert match.matched_iou == []
    match = match_lesions(_boxes(np.s_[1:6, 1:5, 1:5]), _boxes(A, np.s_[5:6, 1:3, 1:2]), BRAIN)
    assert match.found == [True]  # lesions that touch one another are one


@pytest.mark.parametrize("found", [(), (C,)])
@pytest.mark.parametrize("truth", [(), (A, B)])
def test_nothing_there_or_nothing_found(found, truth):
    match = match_lesions(_boxes(*found), _boxes(*truth), BRAIN)
    assert match.found == [False] * len(truth)
    assert match.dice == [0.0] * len(truth)
    assert match.components == match.false_positives == len(found)
    assert match.matched_iou == []


def test_a_lesion_outside_the_brain_is_counted_apart_and_an_edge_splits_none():
    brain = BRAIN.copy()
    brain[16:] = False  # C lies beyond
    brain[3] = False  # cuts A in two
    match = match_lesions(BRAIN, _boxes(A, B, C), brain)
    assert match.outside == 1
    assert match.found == [True, True]
    assert match.volume_ml == pytest.approx([0.064, 0.008])  # as it was drawn
    match = match_lesions(_boxes(A), _boxes(A), brain)
    assert match.dice == [1.0]  # of the voxels that count
    none = match_lesions(BRAIN, _boxes(C), brain)
    assert (none.found, none.outside, none.false_positives) == ([], 1, 2)


def test_a_part_at_ignored_voxels_counts_nowhere_unless_it_touches_a_lesion():
    ignored = _boxes(C)
    beside = _boxes(np.s_[15:19, 1:4, 8:11])
    assert match_lesions(beside, _boxes(A), BRAIN, ignored).components == 0
    assert match_lesions(beside, _boxes(A), BRAIN).false_positives == 1
    both = match_lesions(BRAIN, _boxes(A), BRAIN, ignored)
    assert (both.components, both.false_positives, both.found) == (1, 0, [True])
    assert both.dice == pytest.approx([2 * 64 / (64 + BRAIN.sum() - 27)])


# tp, fp, fn and panoptic quality of the masks below by panoptica 2.1.7 (cc3d, naive matching with a strict threshold)
PANOPTICA = {
    0: (13, 18, 18, 0.2884322380081947),
    1: (15, 15, 19, 0.3332594741693531),
    2: (16, 17, 25, 0.300343960261058),
}


def _speckled(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(40, 40, 30)), 2.0)
    truth = field > np.quantile(field, 0.97)
    noise = gaussian_filter(rng.normal(size=truth.shape), 1.5)
    return gaussian_filter(truth.astype(float), 1) + noise / noise.std() * 0.12 > 0.42, truth


@pytest.mark.parametrize("seed", PANOPTICA)
def test_panoptic_quality_is_that_of_panoptica_and_of_monai(seed):
    found, truth = _speckled(seed)
    match = match_lesions(found, truth, np.ones_like(truth))
    tp = len(match.matched_iou)
    fp, fn = match.components - tp, len(match.found) - tp
    quality = sum(match.matched_iou) / (tp + (fp + fn) / 2)
    assert (tp, fp, fn) == PANOPTICA[seed][:3]
    assert quality == pytest.approx(PANOPTICA[seed][3])
    parts = (torch.as_tensor(label_components(mask)[0]) for mask in (found, truth))
    assert quality == pytest.approx(float(compute_panoptic_quality(*parts)), abs=1e-5)
