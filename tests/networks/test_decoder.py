# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from monai_cuas.networks.layers import decoder_widths, make_decoder


@pytest.mark.parametrize(
    ("kind", "blocks", "widths"),
    [
        ("residual_unit", 4, [512, 256, 128, 64, 64]),
        ("residual_unit", 5, [512, 256, 128, 64, 64, 64]),
        ("basic_block", 4, [256, 128, 64, 32, 16]),
        ("two_convolutions", 5, [32, 256, 128, 64, 32, 16]),
    ],
)
def test_widths(kind, blocks, widths):
    assert decoder_widths(kind, (64, 128, 256, 512), 32, blocks) == widths
    assert len(make_decoder(kind, widths)) == blocks


def test_unknown_kind():
    with pytest.raises(ValueError, match="residual_unit, basic_block"):
        decoder_widths("linear", (4, 8), 3, 2)


def test_norm_and_activation_may_come_before_the_resampling():
    """The same values, gradients and statistics as with the resampling where the authors have it, for less work."""
    torch.manual_seed(0)
    here = make_decoder("basic_block", [6, 4])[0][0].double()
    there = copy.deepcopy(here)
    x = torch.randn(3, 6, 5, 5, dtype=torch.float64)

    def double(values):
        return F.interpolate(values, scale_factor=2, mode="nearest")

    out = there.act(there.bn1(double(there.conv1(x))))
    convolution, norm = there.downsample
    expected = there.act(there.bn2(there.conv2(out)) + norm(double(convolution(x))))
    found = here(x)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for (name, a), b in zip(here.named_parameters(), there.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    torch.testing.assert_close(here.bn1.running_mean, there.bn1.running_mean)
