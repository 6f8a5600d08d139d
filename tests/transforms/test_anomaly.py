# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import monai_cuas.transforms.anomaly as anomaly
from monai_cuas.transforms import (
    RandHealthyVariation,
    RandHealthyVariationd,
    RandSyntheticAnomaly,
    RandSyntheticAnomalyd,
)
from monai_cuas.transforms.anomaly.contents import CONTENTS, Site
from monai_cuas.transforms.anomaly.shapes import SHAPES


@pytest.fixture
def healthy() -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = np.mgrid[:48, :48]
    mask = ((rows - 24) ** 2 / 400 + (columns - 24) ** 2 / 300 < 1)[None]
    image = 0.4 + 0.1 * np.sin(rows / 3.0)[None] + 0.01 * np.random.RandomState(0).standard_normal((1, 48, 48))
    return torch.from_numpy((image * mask).astype(np.float32)), torch.from_numpy(mask.astype(np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1.0, 5.0, 28.0])
def test_outlines_grow_with_the_size(shape, size):
    areas = [SHAPES[shape]((64, 64), (32, 32), size, np.random.RandomState(k)).sum() for k in range(20)]
    assert max(areas) <= 64 * 64 / 2
    assert np.mean(areas) < 4 * size**2 + 60
    assert np.mean(areas) >= 0.1 * size**2 or shape == "scatter"


@pytest.mark.parametrize("content", CONTENTS)
def test_each_content_alters_the_slice_inside_the_brain_alone(content, healthy):
    image, mask = healthy
    before = image.clone()
    transform = RandSyntheticAnomaly({content: 1.0}, size=(8, 20), strength=(0.2, 0.4), prob=1.0)
    found = 0
    for seed in range(8):
        altered, label = transform.set_random_state(seed)(image, mask, image.flip(1))
        assert altered.shape == image.shape
        assert label.shape == mask.shape
        assert torch.isfinite(altered).all()
        assert altered.min() >= 0
        assert altered.max() <= 1
        assert torch.equal(altered[mask == 0], image[mask == 0])
        assert label[mask == 0].sum() == 0
        changed = (altered - image).abs()
        if label.sum():
            found += 1
            assert changed[label > 0].mean() > 0.01
    assert found >= 2
    assert torch.equal(image, before)


def test_same_seed_same_anomalies_and_a_second_call_gives_others(healthy):
    transform = RandSyntheticAnomaly(prob=1.0).set_random_state(4)
    first, second = transform(*healthy)[0], transform(*healthy)[0]
    assert not torch.equal(first, second)
    assert torch.equal(RandSyntheticAnomaly(prob=1.0).set_random_state(4)(*healthy)[0], first)


def test_arrays_and_tensors_give_the_same(healthy):
    image, mask = healthy
    altered, label = RandSyntheticAnomaly(prob=1.0).set_random_state(2)(image, mask)
    array, array_label = RandSyntheticAnomaly(prob=1.0).set_random_state(2)(image.numpy(), mask.numpy())
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, altered)
    np.testing.assert_array_equal(array_label, label)


def test_channels_are_altered_at_the_same_places(healthy):
    image, mask = healthy
    two = torch.cat([image, 0.5 * image])
    transform = RandSyntheticAnomaly({"shift": 1.0}, size=(10, 20), strength=(0.3, 0.3), extra=0.0, prob=1.0)
    altered, label = transform.set_random_state(1)(two, mask)
    assert label.shape == (1, 48, 48)
    for channel in (altered - two).abs():
        assert channel[label[0] > 0].mean() > 0.05


def test_nothing_without_probability_or_brain(healthy):
    image, mask = healthy
    altered, label = RandSyntheticAnomaly(prob=0.0)(image, mask)
    assert torch.equal(altered, image)
    assert label.sum() == 0
    altered, label = RandSyntheticAnomaly(prob=1.0)(0 * image, 0 * mask)
    assert altered.sum() == 0
    assert label.sum() == 0


def test_invisible_changes_are_not_labelled(healthy):
    transform = RandSyntheticAnomaly({"shift": 1.0}, strength=(0.001, 0.002), prob=1.0)
    assert sum(float(transform.set_random_state(k)(*healthy)[1].sum()) for k in range(5)) == 0


def test_variation_is_mild_keeps_the_background_and_can_be_switched_off(healthy):
    image, mask = healthy
    for seed in range(10):
        varied = RandHealthyVariation().set_random_state(seed)(image, mask)
        assert varied[mask == 0].abs().max() == 0
        assert (varied - image).abs().mean() < 0.15
        assert np.corrcoef(varied[mask > 0], image[mask > 0])[0, 1] > 0.9
    assert torch.equal(RandHealthyVariation(prob=0.0)(image, mask), image)


def test_dictionary_versions(healthy):
    image, mask = healthy
    data = {"image": image, "brain_mask": mask}
    out = RandSyntheticAnomalyd("image", prob=1.0).set_random_state(7)(data)
    altered, label = RandSyntheticAnomaly(prob=1.0).set_random_state(7)(image, mask)
    assert torch.equal(out["image"], altered)
    assert torch.equal(out["label"], label)
    assert out["clean"] is image
    assert data["image"] is image
    varied = RandHealthyVariationd("image").set_random_state(7)(data)["image"]
    assert torch.equal(varied, RandHealthyVariation().set_random_state(7)(image, mask))
    with pytest.raises(KeyError):
        RandSyntheticAnomalyd("image")({})
    assert RandSyntheticAnomalyd("image", allow_missing_keys=True)({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "arguments",
    [{"contents": {"lesion": 1}}, {"shapes": {}}, {"size": (5, 2)}, {"strength": (0, 1)}, {"extra": -1}],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError):
        RandSyntheticAnomaly(**arguments)
    with pytest.raises(ValueError):
        RandHealthyVariation(-1)


def test_the_generator_of_training_knows_nothing_of_the_test_lesions():
    for file in Path(anomaly.__file__).parent.glob("*.py"):
        imported = [
            name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        ]
        assert not [name for name in imported if "phantom" in name or "lesion" in name.lower()]


def test_soft_label_is_how_much_a_pixel_was_changed(healthy):
    image, mask = healthy
    how = {"contents": {"shift": 1.0}, "size": (12, 20), "strength": (0.05, 0.05), "extra": 0.0, "prob": 1.0}
    for seed in range(20):
        altered, label = RandSyntheticAnomaly(**how, soft_label=0.1).set_random_state(seed)(image, mask)
        outside = ((altered - image).abs() < 0.0499).float()
        eroded = torch.nn.functional.max_pool2d(outside, 5, 1, 2) == 0
        if eroded.any():
            break
    again, hard = RandSyntheticAnomaly(**how).set_random_state(seed)(image, mask)
    assert torch.equal(altered, again)
    # a change of half the amount, well inside: half a label
    assert eroded.any()
    assert float(label[eroded].median()) == pytest.approx(0.5, abs=0.03)
    assert float(label.max()) < 0.55
    assert label[mask == 0].sum() == 0
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    _, full = RandSyntheticAnomaly(**how, soft_label=0.01).set_random_state(seed)(image, mask)
    assert float(full[eroded].min()) == 1.0
    with pytest.raises(ValueError, match="soft_label"):
        RandSyntheticAnomaly(soft_label=0.0)


@pytest.mark.parametrize(("bright", "brighter"), [(1.0, 1.0), (0.0, 0.0), (0.8, 0.8)])
def test_bright_is_how_often_a_change_is_brighter(bright, brighter, healthy):
    image, mask = healthy
    how = {"contents": {"shift": 1.0}, "strength": (0.1, 0.1), "extra": 0.0, "prob": 1.0, "size": (6, 20)}
    transform = RandSyntheticAnomaly(**how, bright=bright).set_random_state(0)
    signs = [float((transform(image, mask)[0] - image).sum()) > 0 for _ in range(60)]
    assert np.mean(signs) == pytest.approx(brighter, abs=0.15 if 0 < bright < 1 else 0.0)


@pytest.mark.parametrize("bright", [-0.1, 1.1])
def test_bright_is_a_share(bright):
    with pytest.raises(ValueError, match="bright must be from 0 to 1"):
        RandSyntheticAnomaly(bright=bright)


def test_a_core_is_flat_and_its_rim_keeps_the_tissues_texture():
    rng = np.random.RandomState(0)
    image = (0.4 + 0.05 * rng.standard_normal((64, 64))).astype(np.float32)
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - 32, columns - 32)
    weight = (distance < 20).astype(np.float32)
    for seed in range(10):
        new = CONTENTS["core"](Site(image, weight, 40.0, 0.2, image), np.random.RandomState(seed))
        assert np.isfinite(new).all()
        # the smallest core begins at 0.7 of the depth, the largest rim ends at 0.2 of it
        assert new[distance < 2].std() < 0.015
        assert new[(distance > 18) & (distance < 20)].std() > 0.03
        assert new[(distance > 18) & (distance < 20)].mean() > 0.5
