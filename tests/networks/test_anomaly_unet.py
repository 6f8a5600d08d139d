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
from monai_cuas.transforms import RandHealthyVariation, RandSyntheticAnomaly
from monai_cuas.utils import CUASError

SMALL = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4)}


def _net(**kwargs) -> AnomalyUNet:
    torch.manual_seed(0)
    how = {**SMALL, "anomaly": RandSyntheticAnomaly(size=(3, 12)), "variation": RandHealthyVariation(), **kwargs}
    return AnomalyUNet(**how)


def _slices(n: int = 4, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(n, 1, 32, 32)
    mask[..., 4:28, 4:28] = 1
    x = torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.4
    return x * mask, mask


@pytest.mark.parametrize("place", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("map_kind", ["segmentation", "restoration", "both"])
def test_shapes(place, mirror, map_kind):
    net = _net(in_channels=2, place=place, mirror=mirror, map_kind=map_kind)
    x, mask = _slices(channels=2)
    out = net(x)
    assert out["image"].shape == out["restoration"].shape == out["altered"].shape == x.shape
    assert out["label"].shape == out["logit"].shape == out["attention"].shape == mask.shape
    with torch.no_grad():
        anomaly_map = net.eval()(x)
    assert isinstance(anomaly_map, torch.Tensor)
    assert anomaly_map.shape == mask.shape
    assert TrainingOutputInferer()(x, net)["logit"].shape == mask.shape


def test_only_labelled_places_are_altered_much_and_only_inside_the_brain():
    net = _net(variation=None)
    x, mask = _slices()
    out = net(x)
    changed = (out["altered"] - out["image"]).abs()
    assert out["label"].sum() > 0
    assert changed[mask == 0].max() == 0
    assert out["label"][mask == 0].max() == 0
    assert changed[out["label"] > 0].mean() > 5 * changed[(out["label"] == 0) & (mask > 0)].mean()


def test_validation_has_the_same_anomalies_each_time_and_training_others():
    net = _net().eval()
    x, _ = _slices()
    first, second = net.forward_train(x), net.forward_train(x)
    assert torch.equal(first["altered"], second["altered"])
    net.train()
    assert not torch.equal(net(x)["altered"], net(x)["altered"])


def test_anomalies_follow_the_seed_of_pytorch():
    net = _net()
    x, _ = _slices()
    torch.manual_seed(3)
    first = net(x)["altered"]
    torch.manual_seed(3)
    assert torch.equal(net(x)["altered"], first)


def test_training_finds_anomalies_it_was_not_shown():
    net = _net(anomaly=RandSyntheticAnomaly({"shift": 1.0}, size=(6, 12), strength=(0.3, 0.4)), variation=None)
    loss, optimizer = SyntheticAnomalyLoss(), torch.optim.Adam(net.parameters(), 1e-2)
    x, mask = _slices(8)
    for _ in range(60):
        optimizer.zero_grad()
        loss(net(x), mask).backward()
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
    x, mask = _slices()
    preds = net(x)
    with_it = SyntheticAnomalyLoss(constraint=AttentionEntropyLoss(), weight=2.0, warmup_epochs=1)
    entropy = with_it.terms(preds, mask)["constraint"]
    torch.testing.assert_close(with_it(preds, mask), SyntheticAnomalyLoss()(preds, mask) + 2.0 * entropy)
    with_it.set_epoch(1)
    torch.testing.assert_close(with_it(preds, mask), SyntheticAnomalyLoss()(preds, mask))
    entropy.backward()
    assert net.unet.conv_0.conv_0.conv.weight.grad.abs().sum() > 0


def test_loss_by_hand():
    zero, one = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    label = torch.tensor([[[[0.0, 1.0]]]])
    preds = {"logit": zero, "label": label, "image": zero, "restoration": 0.5 * one}
    loss = SyntheticAnomalyLoss(positive_weight=3.0, restoration_weight=2.0)
    assert float(loss(preds, one)) == pytest.approx((1 + 3) * math.log(2) / 2 + 2 * 0.5)
    assert float(loss(preds, torch.tensor([[[[1, 0]]]]))) == pytest.approx(math.log(2) + 2 * 0.5)
    assert torch.isfinite(loss(preds, zero))


@pytest.mark.parametrize("pixel_unshuffle", [1, 2])
def test_torchscript_and_weights_give_the_same_map(tmp_path, pixel_unshuffle):
    how = {**SMALL, "image_size": 64, "mirror": True, "place": True, "pixel_unshuffle": pixel_unshuffle}
    net = _net(**how).eval()
    x = torch.nn.functional.pad(_slices()[0], (16, 16, 16, 16))
    expected = net(x).detach()
    assert expected.shape == x.shape
    plain = AnomalyUNet(**how)
    torch.testing.assert_close(torch.jit.script(copy.deepcopy(net))(x), expected, rtol=0, atol=1e-5)
    save_weights(net, tmp_path / "model.pt")
    torch.testing.assert_close(load_weights(plain, tmp_path / "model.pt").eval()(x), expected)
    with pytest.raises(CUASError, match="anomaly"):
        plain.forward_train(x)


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
    how = {"image_size": 32, "features": (4, 4, 8, 8, 8, 4), "anomaly": RandSyntheticAnomaly()}
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
