# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from monai_cuas.inferers import CalibratedInferer, TrainingOutputInferer
from monai_cuas.losses import AttentionEntropyLoss, SyntheticAnomalyLoss
from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.networks.utils import has_fast_bfloat16
from monai_cuas.transforms import RandSyntheticAnomaly

SMALL = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}


def _net(**kwargs) -> AnomalyUNet:
    torch.manual_seed(0)
    return AnomalyUNet(**{**SMALL, **kwargs})


def _altered(x: torch.Tensor, mask: torch.Tensor, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    """Altered slices, and what the loss wants to know of them."""
    alter = RandSyntheticAnomaly(**{"size": (3, 12), **kwargs}).set_random_state(seed=0)
    pairs = [alter(image, inside) for image, inside in zip(x, mask)]
    altered, label = (torch.stack(parts) for parts in zip(*pairs))
    return altered, torch.cat([mask, label, x], dim=1)


def _slices(n: int = 4, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(n, 1, 32, 32)
    mask[..., 4:28, 4:28] = 1
    x = torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.4
    return x * mask, mask


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("map_kind", ["segmentation", "restoration", "both"])
def test_shapes(mirror, map_kind):
    net = _net(in_channels=2, mirror=mirror, map_kind=map_kind)
    x, mask = _slices(channels=2)
    out = net(x)
    assert out["restoration"].shape == x.shape
    assert out["logit"].shape == out["attention"].shape == mask.shape
    with torch.no_grad():
        anomaly_map = net.eval()(x)
    assert isinstance(anomaly_map, torch.Tensor)
    assert anomaly_map.shape == mask.shape
    assert TrainingOutputInferer()(x, net)["logit"].shape == mask.shape


def test_training_finds_anomalies_it_was_not_shown():
    net = _net()
    loss, optimizer = SyntheticAnomalyLoss(), torch.optim.Adam(net.parameters(), 1e-2)
    x, mask = _slices(8)
    alter = RandSyntheticAnomaly({"shift": 1.0}, size=(6, 12), strength=(0.3, 0.4)).set_random_state(seed=0)
    for _ in range(60):
        optimizer.zero_grad()
        altered, label = (torch.stack(parts) for parts in zip(*(alter(i, m) for i, m in zip(x, mask))))
        loss(net(altered), torch.cat([mask, label, x], dim=1)).backward()
        optimizer.step()
    x, _ = _slices(1)
    x[0, 0, 10:16, 14:20] += 0.35
    with torch.no_grad():
        score = net.eval()(x)[0, 0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[10:16, 14:20] = True
    brain = x[0, 0] > 0
    assert score[inside].median() > score[brain & ~inside].quantile(0.95)


def test_constraint_reaches_the_encoder_and_can_wait():
    net = _net()
    x, target = _altered(*_slices())
    preds = net(x)
    with_it = SyntheticAnomalyLoss(constraint=AttentionEntropyLoss(), weight=2.0, warmup_epochs=1)
    entropy = with_it.terms(preds, target)["constraint"]
    torch.testing.assert_close(with_it(preds, target), SyntheticAnomalyLoss()(preds, target) + 2.0 * entropy)
    with_it.set_epoch(1)
    torch.testing.assert_close(with_it(preds, target), SyntheticAnomalyLoss()(preds, target))
    entropy.backward()
    assert net.unet.conv_0.conv_0.conv.weight.grad.abs().sum() > 0


def test_loss_by_hand():
    zero, one = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    label = torch.tensor([[[[0.0, 1.0]]]])
    preds = {"logit": zero, "restoration": 0.5 * one}
    loss = SyntheticAnomalyLoss(positive_weight=3.0, restoration_weight=2.0)

    def value(mask: torch.Tensor) -> torch.Tensor:
        return loss(preds, torch.cat([mask, label, zero], dim=1))

    assert float(value(one)) == pytest.approx((1 + 3) * math.log(2) / 2 + 2 * 0.5)
    assert float(value(torch.tensor([[[[1.0, 0.0]]]]))) == pytest.approx(math.log(2) + 2 * 0.5)
    assert torch.isfinite(value(zero))


@pytest.mark.parametrize("pixel_unshuffle", [1, 2])
def test_torchscript_and_weights_give_the_same_map(tmp_path, pixel_unshuffle):
    how = {**SMALL, "image_size": 64, "mirror": True, "pixel_unshuffle": pixel_unshuffle}
    net = _net(**how).eval()
    x = torch.nn.functional.pad(_slices()[0], (16, 16, 16, 16))
    expected = net(x).detach()
    assert expected.shape == x.shape
    plain = AnomalyUNet(**how)
    torch.testing.assert_close(torch.jit.script(copy.deepcopy(net))(x), expected, rtol=0, atol=1e-5)
    save_weights(net, tmp_path / "model.pt")
    torch.testing.assert_close(load_weights(plain, tmp_path / "model.pt").eval()(x), expected)


def test_calibrated_map():
    net = _net().eval()
    net.calibration.set_(torch.linspace(-5, 5, 11))
    x, _ = _slices()
    inferer = CalibratedInferer(lambda inputs, network: network(inputs))
    assert (inferer(x, net) >= 0).all()


@pytest.mark.parametrize(
    ("name", "value"), [("map_kind", "none"), ("attention_stage", 5), ("pixel_unshuffle", 3), ("image_size", 15)]
)
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=name):
        _net(**{name: value})
    with pytest.raises(ValueError, match="weights"):
        SyntheticAnomalyLoss(positive_weight=0)


def test_map_does_not_depend_on_the_batch():
    net = _net().eval()
    x, _ = _slices(3)
    np.testing.assert_allclose(
        net(x).detach(), torch.cat([net(x[k : k + 1]) for k in range(3)]).detach(), rtol=1e-4, atol=1e-5
    )


def test_bfloat16_on_the_cpu_trains_nearly_alike_and_leaves_inference_alone():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    how = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}
    networks = {}
    for fast in (False, True):
        torch.manual_seed(0)
        networks[fast] = AnomalyUNet(cpu_bfloat16=fast, **how).eval()
    plain, fast = (networks[k].forward_train(x) for k in (False, True))
    for name in ("logit", "restoration", "attention"):
        assert fast[name].dtype == torch.float32
        torch.testing.assert_close(fast[name], plain[name], rtol=0.05, atol=0.05)
    # it was really computed otherwise
    assert (fast["logit"] - plain["logit"]).abs().max() > 0
    with torch.no_grad():
        assert torch.equal(networks[True](x), networks[False](x))


def test_fast_bfloat16_is_what_the_cpu_says(monkeypatch):
    for says in ({"amx_bf16": True}, {"avx512_bf16": True, "amx_bf16": False}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda says=says: says, raising=False)
        assert has_fast_bfloat16()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert not has_fast_bfloat16()
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_fast_bfloat16()
