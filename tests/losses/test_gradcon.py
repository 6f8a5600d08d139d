# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_cuas.losses import ELBOLoss, GradConLoss
from monai_cuas.networks.nets import GradConVAE

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}


def _net(**kwargs) -> GradConVAE:
    torch.manual_seed(0)
    return GradConVAE(**SMALL, **kwargs)


def test_mean_gradient_and_alignment_by_hand():
    net = _net()
    shapes = [w.shape for w in net.decoder_weights()]
    ones, threes = (tuple(torch.full(s, v) for s in shapes) for v in (1.0, 3.0))
    assert net.alignment(ones).item() == 0
    net.remember(ones)
    net.remember(threes)
    assert net.reference_0.unique().tolist() == [2.0]
    assert net.alignment(ones).item() == pytest.approx(1.0)
    assert net.alignment(tuple(-g for g in ones)).item() == pytest.approx(-1.0)
    # one of the layers is orthogonal: half of its elements turn around
    mixed = list(ones)
    mixed[0] = ones[0].clone()
    mixed[0].view(-1)[::2] *= -1
    assert net.alignment(tuple(mixed)).item() == pytest.approx(1 - 1 / len(shapes))


def test_loss_is_the_elbo_minus_the_alignment():
    net = _net()
    x, mask = torch.rand(2, 1, 24, 24), torch.ones(2, 1, 24, 24)
    elbo, loss = ELBOLoss(), GradConLoss(net, ELBOLoss(), weight=5.0)
    preds = net(x)
    assert loss(preds, mask).item() == pytest.approx(elbo(preds).item())  # no gradient is remembered yet
    preds = net(x)
    expected = elbo(preds) - 5 * net.alignment(net.gradients(elbo.terms(preds)["reconstruction"]))
    value = loss(preds, mask)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert net.reference_steps == 2
    value.backward()
    assert net.stem.weight.grad.abs().sum() > 0
    with torch.no_grad():
        preds = net.eval().forward_train(x)
        assert loss(preds, mask).item() == pytest.approx(elbo(preds).item())
    assert net.reference_steps == 2


def test_cosine_gradient_by_finite_differences():
    reference = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)

    def constraint(weight):
        # the gradient of (w . x - 1)^2 for a decoder of one layer is 2 (w . x - 1) x + w
        (gradient,) = torch.autograd.grad(
            ((weight * 2).sum() - 1).square() + weight.square().sum() / 2, weight, create_graph=True
        )
        return F.cosine_similarity(gradient, reference, dim=0)

    weight = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(constraint, (weight,))


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_map_does_not_depend_on_the_batch(beta):
    net = _net(beta=beta)
    net.remember(tuple(torch.randn_like(w) for w in net.decoder_weights()))
    net.eval()
    x = torch.rand(3, 1, 24, 24)
    with torch.inference_mode():
        whole = net(x)
        torch.testing.assert_close(whole, torch.cat([net(x[k : k + 1]) for k in range(3)]), rtol=1e-4, atol=1e-5)
        residual = (x - net.reconstruct(x)).abs()
    offset = (whole - residual).flatten(1)
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), rtol=1e-4, atol=1e-5)
    assert (offset[:, 0] > 0).all() if beta else offset.abs().max() < 1e-6
    assert isinstance(net.decoder_weights()[0], nn.Parameter)
