# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cuas.transforms import LandmarkStandardize, RandLandmarkShift, RandLandmarkShiftd
from monai_cuas.transforms.anomaly import FINE_LEVELS
from monai_cuas.transforms.intensity import ForegroundQuantileScale, foreground_quantiles


def scan(seed: int, lesion: float = 0.0, value: float = 0.0) -> np.ndarray:
    """A "scan" of one slice, (1, 100, 100), of two tissues; a lesion fills so much of its last rows."""
    generator = np.random.default_rng(seed)
    raw = np.where(generator.uniform(size=(1, 100, 100)) < 0.4, 300.0, 600.0) + generator.normal(0, 60, (1, 100, 100))
    if lesion:
        raw[:, round(100 * (1 - lesion)) :] = value + generator.normal(0, 10, (1, round(100 * lesion), 100))
    return raw.astype(np.float32)


def quantiles() -> torch.Tensor:
    inside = np.ones((100, 100), dtype=bool)
    return torch.as_tensor(np.stack([foreground_quantiles(scan(k), inside, FINE_LEVELS) for k in range(3)]))


def standardised(raw: np.ndarray) -> torch.Tensor:
    inside = np.ones((1, 100, 100), dtype=bool)
    found = torch.as_tensor(np.stack([foreground_quantiles(scan(k), inside[0]) for k in range(3)]))
    return LandmarkStandardize(found)(torch.as_tensor(ForegroundQuantileScale()(raw, inside)))


@pytest.mark.parametrize(("share", "value", "bright"), [(0.2, 120.0, 0.0), (0.2, 900.0, 1.0), (0.25, 100.0, 0.0)])
def test_healthy_tissue_becomes_what_a_real_lesion_makes_of_it(share, value, bright):
    healthy, sick = standardised(scan(7)), standardised(scan(7, share, value))
    rows = round(100 * (1 - share))
    shift = RandLandmarkShift(quantiles(), share=share, bright=bright, prob=1.0)
    shift.set_random_state(0)
    shift.randomize()
    # a lesion of exactly that share, darker than all healthy tissue or brighter
    shift._lesion = (share, 0.0 if not bright else 1.0, bool(bright))
    shifted = shift(healthy, randomize=False)
    before = float((healthy - sick)[:, :rows].abs().mean())
    after = float((shifted - sick)[:, :rows].abs().mean())
    assert before > 0.015
    assert after < 0.4 * before


@pytest.mark.parametrize("bright", [False, True])
def test_the_larger_the_lesion_the_larger_the_shift(bright):
    healthy = standardised(scan(7))
    shift, changes = RandLandmarkShift(quantiles(), prob=1.0).set_random_state(0), []
    shift.randomize()
    for share in (0.0, 0.05, 0.1, 0.2):
        shift._lesion = (share, 1.0 if bright else 0.0, bright)
        changes.append(float((shift(healthy, randomize=False) - healthy).mean()) * (-1 if bright else 1))
    assert changes[0] == pytest.approx(0.0, abs=0.005)
    assert np.all(np.diff(changes) > 0)
    assert changes[-1] > 0.01


def test_dark_and_bright_lesions_are_drawn_as_often_as_asked():
    shift = RandLandmarkShift(quantiles(), share=0.2, bright=0.8, prob=1.0).set_random_state(0)
    drawn = []
    for _ in range(200):
        shift.randomize()
        drawn.append(shift._lesion)
    assert np.mean([bright for _, _, bright in drawn]) == pytest.approx(0.8, abs=0.1)
    assert 0.15 < max(share for share, _, _ in drawn) <= 0.2


def test_background_type_and_seed():
    image = standardised(scan(7))
    image[:, :10] = 0
    transform = RandLandmarkShift(quantiles(), prob=1.0)
    first, second = transform.set_random_state(3)(image), transform(image)
    assert isinstance(first, torch.Tensor)
    assert torch.equal(first[:, :10], image[:, :10])
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first, second)
    assert torch.equal(first, transform.set_random_state(3)(image))
    assert isinstance(transform(image.numpy()), np.ndarray)
    assert RandLandmarkShift(quantiles(), prob=0.0)(image) is image


def test_slice_and_donor_are_of_one_scan():
    image = standardised(scan(7))
    item = RandLandmarkShiftd(["image", "donor"], quantiles(), prob=1.0).set_random_state(0)(
        {"image": image, "donor": image.clone(), "other": 1}
    )
    assert torch.equal(item["image"], item["donor"])
    assert not torch.equal(item["image"], image)
    with pytest.raises(KeyError):
        RandLandmarkShiftd("none", quantiles())({"image": image})
    assert RandLandmarkShiftd("none", quantiles(), allow_missing_keys=True)({"image": image})["image"] is image


@pytest.mark.parametrize(
    "arguments", [{"share": 0.0}, {"share": 0.6}, {"bright": 1.1}, {"bright": -0.1}, {"levels": (0.1, 0.5)}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"share|bright|quantiles"):
        RandLandmarkShift(quantiles(), **arguments)
