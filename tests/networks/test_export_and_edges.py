# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What the network meets outside training: export, evaluators' modes, maps that saturate, broken landmarks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from monai.networks.nets import ResNet
from monai.networks.utils import convert_to_onnx
from torch.nn.parallel import DistributedDataParallel

from monai_cuas.losses import AttentionEntropyLoss, AttentionSizeLoss, ConstrainedVAELoss, ELBOLoss
from monai_cuas.networks.layers import DEFAULT_LEVELS, LandmarkStandardization, ScoreCalibration
from monai_cuas.networks.nets import AttentionVAE


def _net(**kwargs) -> AttentionVAE:
    torch.manual_seed(0)
    return AttentionVAE(**{"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3, **kwargs})


def test_onnx_gives_the_same_map():
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    net = _net().eval()
    net.standardize.fit((10 * torch.tensor(DEFAULT_LEVELS)).square().view(1, 1, -1))
    x = torch.rand(2, 1, 24, 24)
    session = runtime.InferenceSession(convert_to_onnx(net, [x]).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=0, atol=1e-5)


def test_encoder_is_that_of_monai():
    resnet = ResNet(
        "basic",
        [2, 2, 1, 1],
        [4, 8, 8, 8],
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_stride=2,
        no_max_pool=True,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    net = _net(layers=(2, 2), attention_stage=1).eval()
    net.stem.load_state_dict(resnet.conv1.state_dict())
    for ours, theirs in zip(net.stages, (resnet.layer1, resnet.layer2)):
        ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 1, 24, 24)
    # no norm, activation or pooling between stem and first stage
    assert torch.equal(net.features(x), resnet.layer2(resnet.layer1(resnet.conv1(x))))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradcam_map_under_the_evaluators_modes(mode):
    net = _net(attention="gradcam").eval()
    x = torch.rand(2, 1, 24, 24)
    expected = net(x)
    with mode():
        torch.testing.assert_close(net(x.clone()), expected)


def test_scripted_gradcam_says_that_it_cannot():
    scripted = torch.jit.script(_net(attention="gradcam").eval())
    with pytest.raises(Exception, match="needs the Python network"):
        scripted(torch.rand(1, 1, 24, 24))


def test_copy_after_a_step_is_independent():
    net = _net()
    net(torch.rand(2, 1, 24, 24))["mu"].sum().backward()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        net.stem.weight.zero_()
    assert twin.stem.weight.abs().sum() > 0


def test_same_seed_same_weights():
    for a, b in zip(_net().parameters(), _net().parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("attention", ["mean", "gradcam"])
def test_gradients_through_ddp_are_those_without_it(attention, tmp_path):
    constraint = AttentionEntropyLoss() if attention == "mean" else AttentionSizeLoss(0.01)
    loss = ConstrainedVAELoss(ELBOLoss(), constraint)
    x, mask = torch.rand(2, 1, 24, 24), torch.ones(2, 1, 24, 24)
    plain, net = _net(attention=attention), _net(attention=attention)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for module in (plain, DistributedDataParallel(net)):
            torch.manual_seed(1)
            # two steps: DDP complains at the second if a parameter had no part in the first
            for _ in range(2):
                module.zero_grad()
                loss(module(x), mask).backward()
    finally:
        torch.distributed.destroy_process_group()
    for a, b in zip(plain.parameters(), net.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_gradcam_constraint_gradient_by_finite_differences():
    net = _net(attention="gradcam", image_size=8, channels=(2,), layers=(1,), latent_size=2).double()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    x, mask = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.ones(2, 1, 8, 8)

    def value() -> torch.Tensor:
        # before the loss, which works in single precision
        return (net(x)["attention"] * mask).mean()

    value().backward()
    weight, step = net.stem.weight, 1e-6
    for index in ((0, 0, 3, 3), (1, 0, 2, 4)):
        slope = weight.grad[index].item()
        with torch.no_grad():
            weight[index] += step
            high = value().item()
            weight[index] -= 2 * step
            low = value().item()
            weight[index] += step
        assert slope == pytest.approx((high - low) / (2 * step), rel=1e-3, abs=1e-8)


def test_saturated_map_is_not_found_at_rates_it_does_not_keep():
    layer = ScoreCalibration((0.5, 0.1, 0.05, 0.01))
    layer.set_(torch.tensor([0.5, 0.9, 1.0, 1.0]))
    score = layer(torch.tensor([0.9, 1.0, 1.1]))
    # 1.0 is reached at a rate of 0.05 or more, so its score must stay that of 0.05; above it, 0.01 holds
    assert score[:2].tolist() == pytest.approx([1.0, -math.log10(0.05)], abs=1e-5)
    assert 2.0 < score[2] < 3.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_scored_in_single(dtype):
    layer = ScoreCalibration((0.5, 0.1, 0.01))
    layer.set_(torch.tensor([0.5, 1.0, 1.0001]))
    score = torch.jit.script(layer)(torch.tensor([0.5, 1.0, 1.5], dtype=dtype))
    assert score.dtype == torch.float32
    assert torch.isfinite(score).all()
    assert score[:2].tolist() == pytest.approx([0.30103, 1.0], abs=1e-5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 50.0])
def test_landmarks_refuse_broken_quantiles(broken):
    quantiles = (10 * torch.tensor(DEFAULT_LEVELS)).view(1, 1, -1).clone()
    quantiles[0, 0, 1] = broken
    with pytest.raises(ValueError, match="finite and ascend"):
        LandmarkStandardization(1).fit(quantiles)
