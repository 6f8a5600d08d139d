# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from monai_cuas.losses import AttentionEntropyLoss, AttentionSizeLoss, ExtendedLogBarrier, attention_entropy, eroded


def test_flat_map_has_entropy_log_n():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :3] = 1
    assert attention_entropy(torch.full((1, 1, 4, 4), 7.0), mask).item() == pytest.approx(math.log(12), abs=1e-5)


def test_entropy_by_hand_and_empty_slice():
    attention = torch.tensor([0.0, math.log(3.0), 50.0]).view(1, 1, 1, 3).repeat(2, 1, 1, 1).requires_grad_()
    mask = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).view(2, 1, 1, 3)
    entropy = attention_entropy(attention, mask)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropy.tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    entropy.sum().backward()
    assert torch.isfinite(attention.grad).all()
    assert attention.grad[0, 0, 0, 2] == 0


def test_a_step_on_the_entropy_term_raises_the_entropy():
    torch.manual_seed(0)
    attention = torch.randn(2, 1, 6, 6, requires_grad=True)
    mask = torch.ones_like(attention)
    before = attention_entropy(attention, mask).mean().item()
    AttentionEntropyLoss()(attention, mask).backward()
    after = attention_entropy(attention - 1.0 * attention.grad, mask).mean().item()
    assert after > before


@pytest.mark.parametrize("t", [1.0, 5.0, 10.0, 50.0])
def test_barrier_and_its_slope_are_continuous(t):
    barrier, bound = ExtendedLogBarrier(t), -1 / t**2
    z = torch.tensor([bound * (1 + 1e-9), bound * (1 - 1e-9)], dtype=torch.float64, requires_grad=True)
    values = barrier(z)
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
    values.sum().backward()
    assert z.grad.tolist() == pytest.approx([t, t], rel=1e-6)


def test_barrier_by_hand():
    z = torch.tensor([-1.0, -0.5, 0.0, 0.3], dtype=torch.float64, requires_grad=True)
    t = 2.0
    linear = [t * v - math.log(1 / t**2) / t + 1 / t for v in (0.0, 0.3)]
    assert ExtendedLogBarrier(t)(z).tolist() == pytest.approx([0.0, -math.log(0.5) / t, *linear])
    assert torch.autograd.gradcheck(ExtendedLogBarrier(t), (z,))


def test_t_can_be_scheduled_and_other_penalties_have_none():
    loss = AttentionSizeLoss(0.2, t=5.0)
    loss.set_t(20.0)
    assert loss.penalty.t == 20.0
    with pytest.raises(ValueError, match="positive"):
        loss.set_t(0.0)
    attention, mask = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    other = AttentionSizeLoss(0.2, "l1")
    other.set_t(20.0)
    assert other(attention, mask).item() == pytest.approx(0.8)


@pytest.mark.parametrize(("penalty", "expected"), [("l1", 0.3), ("l2", 0.09), (torch.exp, math.exp(0.3))])
def test_size_penalty_counts_the_brain_alone(penalty, expected):
    attention = torch.full((1, 1, 2, 2), 0.5)
    attention[..., 1] = 100.0
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    assert AttentionSizeLoss(p=0.2, penalty=penalty)(attention, mask).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("arguments", [{"p": 1.0}, {"p": -0.1}, {"penalty": "l3"}, {"t": 0.0}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="must be"):
        AttentionSizeLoss(**arguments)


def test_entropy_gradient_by_finite_differences():
    torch.manual_seed(0)
    mask = torch.ones(2, 1, 2, 3)
    mask[0, 0, 0, 0] = 0
    attention = torch.randn(2, 1, 2, 3, requires_grad=True)
    assert torch.autograd.gradcheck(attention_entropy, (attention, mask), eps=1e-2, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("penalty", ["barrier", "l1", "l2"])
def test_slice_without_brain_adds_nothing(penalty):
    attention = torch.rand(2, 1, 4, 4, requires_grad=True)
    mask = torch.ones(2, 1, 4, 4)
    mask[1] = 0
    loss = AttentionSizeLoss(0.2, penalty)
    both = loss(attention, mask)
    assert both.item() == pytest.approx(loss(attention[:1], mask[:1]).item() / 2, rel=1e-5)
    both.backward()
    assert torch.isfinite(attention.grad).all()
    assert attention.grad[1].abs().sum() == 0


def test_size_of_a_large_half_precision_map():
    # the pixel count of 300 x 300 exceeds what float16 can hold
    attention = torch.full((1, 1, 300, 300), 0.5, dtype=torch.float16)
    assert AttentionSizeLoss(0.2, "l1")(attention, torch.ones(1, 1, 300, 300)).item() == pytest.approx(0.3, abs=1e-5)


def test_size_of_a_mean_activation_by_hand():
    attention = torch.tensor([0.0, 3.0]).log().nan_to_num(neginf=-200.0).view(1, 1, 1, 2)  # sigmoid: 0 and 3/4
    loss = AttentionSizeLoss(0.2, "l1", sigmoid=True)
    assert loss(attention, torch.ones_like(attention)).item() == pytest.approx(0.8 - 0.375, rel=1e-5)


def test_attention_expansion_is_one_minus_the_mean():
    attention = torch.rand(3, 1, 4, 4)
    loss = AttentionSizeLoss(0.0, "l1")(attention, torch.ones_like(attention))
    torch.testing.assert_close(loss, 1 - attention.mean())


@pytest.mark.parametrize("side", [0, 1, 2, 3, 5, 6])
def test_erosion_is_scipys(side):
    mask = np.random.RandomState(0).rand(3, 1, 20, 23) > 0.03
    mask[1, 0, :, 0] = True  # what lies at the slice's border is eroded from outside
    found = eroded(torch.as_tensor(mask).float(), side).numpy()
    expected = mask if side < 2 else [binary_erosion(one[0], np.ones((side, side)))[None] for one in mask]
    assert np.array_equal(found, expected)
    with pytest.raises(ValueError, match="negative"):
        eroded(torch.ones(1, 1, 4, 4), -1)


def test_entropy_over_the_eroded_pixels_of_the_whole_batch():
    torch.manual_seed(0)
    attention, mask = torch.randn(2, 1, 12, 12), torch.zeros(2, 1, 12, 12)
    mask[0, 0, 1:9, 1:9], mask[1, 0, 3:11, 3:11] = 1, 1
    union = (mask[:1] + mask[1:]).clamp(max=1).expand(2, -1, -1, -1)
    expected = -attention_entropy(attention, eroded(union, 3).float()).mean()
    assert AttentionEntropyLoss(of_batch=True, erosion=3)(attention, mask) == pytest.approx(expected.item())
    assert AttentionEntropyLoss()(attention, mask) == pytest.approx(-attention_entropy(attention, mask).mean().item())
    assert not torch.equal(AttentionEntropyLoss(erosion=3)(attention, mask), AttentionEntropyLoss()(attention, mask))
    with pytest.raises(ValueError, match="erosion"):
        AttentionEntropyLoss(erosion=-1)


def test_mean_attention_of_the_whole_slice():
    attention = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    assert AttentionSizeLoss(0.2, "l1")(attention, mask).item() == pytest.approx(0.3)
    assert AttentionSizeLoss(0.2, "l1", whole_slice=True)(attention, mask).item() == pytest.approx(0.55)
    # a map that was left on the features' grid has no pixel in common with the mask
    small = torch.full((1, 1, 1, 1), 0.5)
    assert AttentionSizeLoss(0.2, "l1", whole_slice=True)(small, mask).item() == pytest.approx(0.3)
