# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from monai_cuas.transforms import LandmarkStandardize, RandTissueContrast, RandTissueContrastd
from monai_cuas.transforms.anomaly import FINE_LEVELS
from monai_cuas.transforms.intensity import ForegroundQuantileScale, foreground_quantiles

# raw intensity of CSF, grey and white matter, and the share of each in a brain
TISSUES, SHARES, NOISE = (100.0, 400.0, 700.0), (0.15, 0.45, 0.4), 30.0


def brain(seed: int = 0, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A T1 "scan" of one slice, (1, H, W), and the tissue of each pixel; -1 is background."""
    generator = np.random.default_rng(seed)
    tissue = generator.choice(3, size=(1, side, side), p=SHARES)
    tissue[:, :4] = -1
    raw = np.array(TISSUES)[tissue.clip(min=0)] + generator.normal(0, NOISE, tissue.shape)
    return np.where(tissue >= 0, raw, 0.0).astype(np.float32), tissue


def landmarks(channels: int = 1) -> torch.Tensor:
    """Of three scans, at the levels by which tissues are told apart."""
    found = [foreground_quantiles(raw, tissue[0] >= 0, FINE_LEVELS) for raw, tissue in map(brain, range(3))]
    return torch.as_tensor(np.stack(found)).repeat(1, channels, 1)


def standardised(seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    raw, tissue = brain(seed)
    coordinates = ForegroundQuantileScale()(raw, tissue >= 0)
    found = [foreground_quantiles(other, inside[0] >= 0) for other, inside in map(brain, range(3))]
    return LandmarkStandardize(torch.as_tensor(np.stack(found)))(torch.as_tensor(coordinates)), tissue


def medians(image: torch.Tensor, tissue: np.ndarray) -> np.ndarray:
    return np.array([float(np.median(np.asarray(image)[tissue == k])) for k in range(3)])


@pytest.mark.parametrize(("order", "expected"), [("t1", (0, 1, 2)), ("t2", (2, 1, 0)), ("flair", (0, 2, 1))])
def test_tissues_stand_in_the_order_that_is_asked_for(order, expected):
    image, tissue = standardised()
    for seed in range(20):
        contrast = RandTissueContrast(landmarks(), {order: 1.0}, prob=1.0).set_random_state(seed=seed)
        assert tuple(np.argsort(medians(contrast(image), tissue))) == expected


def test_any_order_comes_up():
    image, tissue = standardised()
    contrast = RandTissueContrast(landmarks(), {"any": 1.0}, prob=1.0).set_random_state(seed=0)
    assert len({tuple(np.argsort(medians(contrast(image), tissue))) for _ in range(60)}) == 6


def test_the_whole_scan_keeps_the_landmarks_and_the_background():
    """The result is standardised as a scan of that contrast would be."""
    image, tissue = standardised()
    plain = RandTissueContrast(landmarks(), shading=0.0, prob=1.0).set_random_state(seed=0)
    expected = plain.scale.landmarks[0]
    for _ in range(20):
        made = np.asarray(plain(image))
        assert (made[tissue < 0] == 0).all()
        assert made[tissue >= 0].min() > 0
        assert made.max() <= 1
        # not to the last digit: where a curve is flat, its landmarks are kept apart
        found = foreground_quantiles(made, tissue[0] >= 0)[0]
        assert np.abs(found - expected).mean() < 0.06


def test_slice_and_donor_are_given_one_contrast_and_a_seed_gives_it_again():
    image, tissue = standardised()
    other, others = standardised(5)
    made = [
        RandTissueContrastd(
            ["image", "donor"], landmarks(), orders={"t2": 1.0}, shading=0.0, prob=1.0
        ).set_random_state(seed=3)({"image": image, "donor": other, "subject": "a"})
        for _ in range(2)
    ]
    assert torch.equal(made[0]["image"], made[1]["image"])
    np.testing.assert_allclose(medians(made[0]["image"], tissue), medians(made[0]["donor"], others), atol=0.03)
    assert made[0]["subject"] == "a"
    assert not torch.equal(made[0]["image"], image)
    # draws again within a chain, as the data set seeds it
    chain = Compose([RandTissueContrastd("image", landmarks())])
    draws = [chain.set_random_state(seed=seed)({"image": image})["image"] for seed in (1, 2, 1)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_nothing_is_changed_without_probability_and_channels_are_drawn_apart():
    image, tissue = standardised()
    assert torch.equal(RandTissueContrast(landmarks(), prob=0.0)(image), image)
    two = RandTissueContrast(landmarks(2), {"any": 1.0}, prob=1.0).set_random_state(seed=1)(image.repeat(2, 1, 1))
    assert two.shape == (2, 64, 64)
    assert np.argsort(medians(two[:1], tissue)).tolist() != np.argsort(medians(two[1:], tissue)).tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"orders": {"pd": 1.0}}, "weights of flair, t2, t1, any"),
        ({"orders": {"t2": -1.0}}, "not negative"),
        ({"orders": {"t2": 0.0}}, "orders must be"),
        ({"shading": -0.1}, "shading must not be negative"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(ValueError, match=words):
        RandTissueContrast(landmarks(), **settings)
