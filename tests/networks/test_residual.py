# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_cuas.losses import ContextELBOLoss, ELBOLoss
from monai_cuas.networks.nets import (
    BayesianVAE,
    ContextEncodingVAE,
    ContextVAE,
    ResidualAE,
    ResidualVAE,
    RestorationVAE,
)
from monai_cuas.networks.nets.bayesian import SampledDropout
from monai_cuas.networks.nets.restoration import total_variation

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}
KINDS = (ResidualVAE, ResidualAE, BayesianVAE, ContextVAE, ContextEncodingVAE, RestorationVAE)


def _net(kind, **kwargs):
    torch.manual_seed(0)
    return kind(**SMALL, **kwargs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", ["dense", "spatial"])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_map_does_not_depend_on_the_batch(kind, latent, guard):
    net = _net(kind, latent=latent, in_channels=2).eval()
    x = torch.rand(3, 2, 24, 24)
    with guard():
        whole, parts = net(x), torch.cat([net(x[k : k + 1]) for k in range(3)])
        assert torch.equal(whole, net(x))
    assert whole.shape == (3, 1, 24, 24)
    assert not whole.requires_grad
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_reaches_both_ends(kind):
    net = _net(kind)
    loss = (ContextELBOLoss if kind is ContextEncodingVAE else ELBOLoss)(kl_weight=1.0)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    x, values = torch.rand(4, 1, 24, 24) ** 4, []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(net(x))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert net.stem.weight.grad.abs().sum() > 0
    assert net.output.weight.grad.abs().sum() > 0


def test_map_is_the_mean_residual_of_the_latent_mean():
    net = _net(ResidualVAE, in_channels=2).eval()
    x = torch.rand(1, 2, 24, 24)
    preds = net.forward_train(x)
    expected = (preds["image"] - preds["reconstruction"].sigmoid()).abs().mean(dim=1, keepdim=True)
    torch.testing.assert_close(net(x), expected)


def test_autoencoder_draws_nothing():
    x = torch.rand(2, 1, 24, 24)
    for kind, same in ((ResidualAE, True), (ResidualVAE, False)):
        net = _net(kind)
        assert torch.equal(net(x)["reconstruction"], net(x)["reconstruction"]) is same


def test_encoder_and_generator_parameters_are_the_two_halves():
    net = _net(ResidualVAE)
    encoder, generator = net.encoder_parameters(), net.generator_parameters()
    assert not {id(p) for p in encoder} & {id(p) for p in generator}
    others = {n for n, p in net.named_parameters() if id(p) not in {id(q) for q in encoder + generator}}
    assert others == {"log_var.weight", "log_var.bias"}
    assert net.generate(torch.randn(2, 3)).shape == (2, 1, 24, 24)


def test_dropout_by_hand():
    layer, x = SampledDropout(0.5, 8, samples=3, seed=0), torch.ones(2, 8, 4, 4)
    outputs = layer(x)
    assert set(outputs.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(layer.eval()(x), x)
    layer.current = 1
    assert torch.equal(layer(x)[1, :, 0, 0], layer.masks[1])
    assert torch.equal(layer(x)[0], layer(x)[1])


def test_bayesian_map_is_the_mean_over_samples():
    net = _net(BayesianVAE, dropout=0.5, samples=3).eval()
    x = torch.rand(1, 1, 24, 24)
    mean, singles = net(x), []
    for k in range(3):
        net.samples = 1
        for module in net.modules():
            if isinstance(module, SampledDropout):
                module.masks = module.masks.roll(-1, dims=0) if k else module.masks
        singles.append(net(x))
    assert not torch.equal(singles[0], singles[1])
    torch.testing.assert_close(mean, torch.stack(singles).mean(dim=0))
    # without dropout all samples are the plain reconstruction
    plain = _net(BayesianVAE, dropout=0.0, samples=2).eval()
    torch.testing.assert_close(plain(x), ResidualVAE.anomaly_map(plain, plain.standardize(x)))


def test_context_reconstructs_the_whole_slice_from_the_masked_one():
    net, whole = _net(ContextVAE), torch.rand(2, 1, 24, 24).clamp(min=0.1)
    masked = whole.clone()
    masked[:, :, 4:9, 4:9] = 0
    torch.manual_seed(0)
    preds = net(torch.cat([whole, masked], dim=1))
    torch.manual_seed(0)
    alone = net(masked)
    torch.testing.assert_close(preds["image"], whole)
    torch.testing.assert_close(preds["reconstruction"], alone["reconstruction"])
    assert not torch.equal(alone["image"], whole)


def test_context_encoding_samples_the_whole_slice_and_not_the_masked_one():
    net, whole = _net(ContextEncodingVAE), torch.rand(2, 1, 24, 24).clamp(min=0.1)
    masked = whole * (torch.arange(24) > 9)
    torch.manual_seed(0)
    preds = net(torch.cat([whole, masked], dim=1))
    torch.manual_seed(0)
    torch.testing.assert_close(preds["reconstruction"], net(whole)["reconstruction"])
    mu, _ = net.encode(net.features(net.standardize(masked)))
    torch.testing.assert_close(preds["context_reconstruction"], net.decode(mu, (24, 24)))


def test_context_refuses_another_number_of_channels():
    with pytest.raises(ValueError, match="1 channels, .*2 with masked ones, got 3"):
        _net(ContextVAE)(torch.rand(1, 3, 24, 24))


def test_context_loss_adds_the_second_branch():
    zeros = torch.zeros(2, 1, 2, 2)
    preds = {"image": zeros, "reconstruction": zeros, "mu": torch.zeros(2, 1), "log_var": torch.zeros(2, 1)}
    # the sigmoid of 0 is off by 0.5 in each of 4 pixels; that of a large negative number is right
    assert ContextELBOLoss("l2")({**preds, "context_reconstruction": zeros - 100}).item() == pytest.approx(1.0)
    assert ContextELBOLoss("l2")({**preds, "context_reconstruction": zeros}).item() == pytest.approx(2.0)


def test_total_variation_by_hand_and_by_finite_differences():
    x = torch.tensor([[0.0, 1.0], [3.0, 1.0]], dtype=torch.float64).view(1, 1, 2, 2).requires_grad_()
    assert total_variation(x).item() == pytest.approx(1 + 2 + 3 + 0)
    assert torch.autograd.gradcheck(lambda v: total_variation(v, 0.1), (x,))


def test_restoration_lowers_its_objective_and_starts_at_the_slice():
    net = _net(RestorationVAE, steps=20, step_size=0.01).eval()
    y = torch.rand(1, 1, 24, 24)
    restored = net.restore(y)
    with torch.no_grad():
        assert net.objective(restored, y) < net.objective(y, y)
    # the map is that of the restored slice, not of the reconstruction
    torch.testing.assert_close(net.anomaly_map(y), (y - restored).abs())
    assert not torch.allclose(net.anomaly_map(y), (y - net.reconstruct(y)).abs(), atol=1e-3)
    net.steps, net.step_size = 1, 1e-9
    torch.testing.assert_close(net.restore(y), y)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (BayesianVAE, {"dropout": 1.0}),
        (BayesianVAE, {"samples": 0}),
        (RestorationVAE, {"steps": 0}),
        (RestorationVAE, {"tv_weight": -1.0}),
    ],
)
def test_bad_arguments(kind, bad):
    with pytest.raises(ValueError, match="must be"):
        _net(kind, **bad)
