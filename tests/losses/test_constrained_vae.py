# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch

from monai_cuas.losses import AttentionSizeLoss, ConstrainedVAELoss, ELBOLoss


def _preds() -> dict[str, torch.Tensor]:
    return {
        "image": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1),
        "reconstruction": torch.zeros(2, 1, 1, 1),
        "mu": torch.tensor([[1.0], [2.0]]),
        "log_var": torch.zeros(2, 1),
        "attention": torch.full((2, 1, 1, 1), 0.5),
    }


@pytest.mark.parametrize(("kind", "error"), [("bce", math.log(2)), ("l2", 0.25)])
def test_elbo_sums_pixels_and_divides_by_the_batch(kind, error):
    # KL by hand: 0.5 mu^2 for unit variance, (0.5 + 2) / 2 samples
    assert ELBOLoss(kind, kl_weight=10.0)(_preds()).item() == pytest.approx(error + 10 * 1.25)


def test_constraint_waits_for_the_warm_up():
    loss = ConstrainedVAELoss(ELBOLoss(), AttentionSizeLoss(0.2, "l1"), weight=100.0, warmup_epochs=2)
    mask = torch.ones(2, 1, 1, 1)
    always = loss(_preds(), mask).item()
    values = []
    for epoch in (1, 2, 3):
        loss.set_epoch(epoch)
        values.append(loss(_preds(), mask).item())
    plain = math.log(2) + 1.25
    assert values == pytest.approx([plain, plain, plain + 30.0])
    assert always == pytest.approx(values[2])
    assert loss.terms(_preds(), mask)["constraint"].item() == pytest.approx(0.3)


def test_elbo_of_one_pixel_and_one_dimension():
    preds = _preds()
    wide = {**{k: v.expand(-1, -1, 3, 4) for k, v in preds.items() if v.ndim == 4}, "mu": preds["mu"].expand(-1, 5)}
    wide["log_var"] = torch.zeros_like(wide["mu"])
    terms = ELBOLoss(reduction="mean").terms(wide)
    assert terms["reconstruction"].item() == pytest.approx(math.log(2))
    assert terms["kl"].item() == pytest.approx(1.25)


@pytest.mark.parametrize(("bad", "match"), [({"reconstruction": "l1"}, "bce or l2"), ({"reduction": "max"}, "sum or")])
def test_unknown_reconstruction_or_reduction(bad, match):
    with pytest.raises(ValueError, match=match):
        ELBOLoss(**bad)
