# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_cuas.calibration.scores import threshold_at
from monai_cuas.losses import AttentionEntropyLoss, AttentionSizeLoss, ConstrainedVAELoss, ELBOLoss
from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.layers import (
    DEFAULT_LEVELS,
    LandmarkStandardization,
    ScoreCalibration,
    gradient_weighted_map,
    scaled_by_rows,
)
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.utils import CUASError

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}


def _net(**kwargs) -> AttentionVAE:
    torch.manual_seed(0)
    return AttentionVAE(**{**SMALL, **kwargs})


@pytest.mark.parametrize("attention", ["mean", "gradcam"])
@pytest.mark.parametrize("latent", ["dense", "spatial"])
@pytest.mark.parametrize("size", [24, 25])
def test_shapes(attention, latent, size):
    net = _net(attention=attention, latent=latent, image_size=size, in_channels=2)
    x = torch.rand(2, 2, size, size)
    out = net(x)
    assert out["reconstruction"].shape == out["image"].shape == x.shape
    assert out["attention"].shape == (2, 1, size, size)
    with torch.no_grad():
        attention_map = net.eval()(x)
    assert isinstance(attention_map, torch.Tensor)
    assert attention_map.shape == (2, 1, size, size)
    assert not attention_map.requires_grad


@pytest.mark.parametrize("attention", ["mean", "gradcam"])
def test_map_does_not_depend_on_the_batch(attention):
    net = _net(attention=attention).eval()
    x = torch.rand(3, 1, 24, 24)
    torch.testing.assert_close(net(x), torch.cat([net(x[k : k + 1]) for k in range(3)]), rtol=1e-4, atol=1e-5)


def test_mean_map_needs_the_first_stage_alone_and_takes_any_size():
    net = _net().eval()
    used = []
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: used.append(name))
    assert net(torch.rand(1, 1, 31, 40)).shape == (1, 1, 31, 40)
    assert "stages.0" in used
    assert not [n for n in used if n.startswith(("stages.1", "mu", "decoder"))]


@pytest.mark.parametrize("decoder", ["residual_unit", "basic_block", "two_convolutions"])
@pytest.mark.parametrize("latent", ["dense", "spatial"])
@pytest.mark.parametrize(("size", "max_pool"), [(24, False), (25, True), (32, True)])
def test_decoders_give_the_slices_size(decoder, latent, size, max_pool):
    net = _net(decoder=decoder, latent=latent, image_size=size, max_pool=max_pool)
    out = net(torch.rand(2, 1, size, size))
    assert out["reconstruction"].shape == out["attention"].shape == (2, 1, size, size)
    out["reconstruction"].sum().backward()
    assert [name for name, p in net.decoder.named_parameters() if p.grad is None] == []


def test_options_of_the_releases():
    net = AttentionVAE(**{**SMALL, "channels": (64, 128)}, stem_init="default")
    assert net.stem.weight.std().item() == pytest.approx(0.082, abs=0.004)
    assert AttentionVAE(**{**SMALL, "channels": (64, 128)}).stem.weight.std().item() == pytest.approx(0.026, abs=2e-3)
    x = torch.rand(1, 1, 24, 24)
    assert _net(max_pool=True).features(x).shape == (1, 4, 6, 6)
    assert _net().features(x).shape == (1, 4, 12, 12)
    raw = _net().features(x).mean(1, keepdim=True)
    left = _net(training_resampling=False)(x)["attention"]
    assert left.shape == (1, 1, 12, 12)
    torch.testing.assert_close(_net(training_resampling=False, training_sigmoid=True)(x)["attention"], raw.sigmoid())


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("attention", ["mean", "gradcam"])
def test_corners_of_the_map(attention, align):
    net, x = _net(align_corners=align, attention=attention).eval(), torch.rand(2, 1, 24, 24)
    if attention == "mean":
        small = net.features(x).mean(1, keepdim=True)
    else:
        features = net.features(x).detach().requires_grad_()
        small = gradient_weighted_map(features, net.encode(features)[0])
    resized = torch.nn.functional.interpolate(small, size=(24, 24), mode="bilinear", align_corners=align)
    torch.testing.assert_close(net(x), resized)
    torch.testing.assert_close(net.forward_train(x)["attention"], resized)
    torch.testing.assert_close(net(x)[..., 0, 0], small[..., 0, 0])  # both keep the corner
    inner = (net(x)[..., 0, 1] - small[..., 0, 0]) / (small[..., 0, 1] - small[..., 0, 0])
    torch.testing.assert_close(inner, torch.full_like(inner, 11 / 23 if align else 0.25), rtol=1e-3, atol=1e-3)


def test_a_gradcam_map_without_the_sigmoid():
    x = torch.rand(1, 1, 24, 24)
    raw = _net(attention="gradcam", sigmoid=False, align_corners=True).eval()(x)
    squeezed = _net(attention="gradcam", align_corners=True).eval()(x)
    assert not torch.equal(raw, squeezed)
    torch.testing.assert_close(raw[..., ::23, ::23].sigmoid(), squeezed[..., ::23, ::23])


def test_scaling_by_rows_by_hand():
    # maxima of the rows: 4 and 2; the lower becomes 0, the higher 1
    maps = torch.tensor([[1.0, 4.0], [2.0, 0.0]]).view(1, 1, 2, 2)
    expected = torch.tensor([[-0.5, 1.0], [0.0, -1.0]]).view(1, 1, 2, 2)
    torch.testing.assert_close(scaled_by_rows(maps), expected, rtol=0, atol=2e-3)
    net, x = _net(row_scaling=True).eval(), torch.rand(2, 1, 24, 24)
    small = scaled_by_rows(net.features(x).mean(1, keepdim=True))
    torch.testing.assert_close(net(x), torch.nn.functional.interpolate(small, size=(24, 24), mode="bilinear"))


def test_torchscript_gives_the_same_map():
    net = _net().eval()
    net.calibration.set_(torch.linspace(0, 1, 11))
    x = torch.rand(2, 1, 24, 24)
    torch.testing.assert_close(torch.jit.script(net)(x), net(x), rtol=0, atol=1e-6)


def test_gradient_weights_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]], requires_grad=True)
    mu = torch.stack([2 * features[:, 0].sum(), -1 * features[0, 1, 0, 0]])
    # d/df_0 = 2 everywhere, d/df_1 = -1 at one of two pixels: a = (2, -0.5)
    expected = torch.sigmoid(torch.tensor([2 * 1 - 1.5, 2 * 2 - 2.5]))
    torch.testing.assert_close(gradient_weighted_map(features, mu).flatten(), expected)


@pytest.mark.parametrize(
    ("attention", "constraint"), [("mean", AttentionEntropyLoss()), ("gradcam", AttentionSizeLoss(0.01))]
)
def test_training_lowers_the_loss_and_uses_every_parameter(attention, constraint):
    net = _net(attention=attention)
    loss = ConstrainedVAELoss(ELBOLoss(), constraint, weight=1.0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x, mask = torch.rand(4, 1, 24, 24), torch.ones(4, 1, 24, 24)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        value = loss(net(x), mask)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_gradcam_constraint_reaches_the_encoder():
    net = _net(attention="gradcam")
    AttentionSizeLoss(0.01)(net(torch.rand(2, 1, 24, 24))["attention"], torch.ones(2, 1, 24, 24)).backward()
    assert net.stem.weight.grad.abs().sum() > 0


def test_weights_round_trip_and_misfit(tmp_path):
    net = _net()
    net.calibration.set_(torch.linspace(0, 1, 11))
    net.standardize.fit((100 * torch.tensor(DEFAULT_LEVELS)).view(1, 1, -1))
    save_weights(net, tmp_path / "model.pt")
    loaded = load_weights(_net(), tmp_path / "model.pt")
    assert loaded.calibration.is_calibrated
    assert not _net().calibration.is_calibrated
    for a, b in zip(net.state_dict().values(), loaded.state_dict().values()):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    with pytest.raises(CUASError, match="do not fit"):
        load_weights(_net(latent_size=4), tmp_path / "model.pt")
    with pytest.raises(CUASError, match="no such weights file"):
        load_weights(_net(), tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(CUASError, match="no readable weights"):
        load_weights(_net(), tmp_path / "text.pt")


@pytest.mark.parametrize(
    "bad",
    [
        {"latent": "x"},
        {"decoder": "x"},
        {"stem_init": "x"},
        {"channels": ()},
        {"image_size": 2},
        {"attention_stage": 2},
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError):
        _net(**bad)


def test_dense_latent_refuses_other_sizes():
    with pytest.raises(CUASError, match="24x24"):
        _net()(torch.rand(1, 1, 48, 48))


def test_standardization_is_piecewise_linear():
    import numpy as np

    layer = LandmarkStandardization(1)
    q = torch.tensor([0.0, 7, 30, 100]).view(1, 1, -1)
    layer.fit(q)
    levels = [0.0, *layer.levels.tolist()]
    values = [0.0, *(0.05 + 0.35 * q.flatten() / 100).tolist()]
    x = torch.linspace(0, 0.7, 57).view(1, 1, 57)
    np.testing.assert_allclose(layer(x).flatten(), np.interp(x.flatten(), levels, values), atol=1e-6)
    assert layer(torch.tensor([[[0.0, 9.0]]])).flatten().tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="above its first"):
        layer.fit(torch.zeros(1, 1, len(DEFAULT_LEVELS)))


def test_calibration_is_exact_at_known_rates_and_skips_unknown_ones():
    layer = ScoreCalibration((0.5, 0.1, 0.01, 0.001))
    x = torch.tensor([-3.0, 1.0, 2.0, 4.0, 6.0])
    assert torch.equal(layer(x), x)
    layer.set_(torch.tensor([1.0, 2.0, 4.0, float("nan")]))
    assert layer(x).tolist() == pytest.approx([0.0, 0.30103, 1.0, 2.0, 3.0], abs=1e-5)
    assert threshold_at(layer, 0.1) == pytest.approx(2.0)
    with pytest.raises(CUASError, match="not supported"):
        threshold_at(layer, 0.001)
    with pytest.raises(ValueError, match="ascending"):
        layer.set_(torch.tensor([4.0, 2.0, 1.0, 0.0]))
