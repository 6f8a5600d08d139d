# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What a preset of ``configs/paper`` computes from weights, slices and noise that a seed gives, in float64:

    python -m tests.paper_numbers

What it prints is in ``tests/bundle/fixtures/paper.json``, and was compared with the authors' code (``source`` in it
says how): a change of these figures is a change of the method. NumPy's ``RandomState`` gives the numbers, as its stream
is frozen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from monai.bundle import ConfigParser

from monai_cuas.bundle import with_bases

CONFIGS = Path(__file__).parents[1] / "bundles" / "cuas" / "configs"
FIXTURE = Path(__file__).parent / "bundle" / "fixtures" / "paper.json"
PRESETS = ("amcons", "gradcam_cons_v1", "gradcam_cons_v2")
SIZE, BATCH, STEPS = 64, 4, 3
PIXELS = ((20, 20), (32, 32), (40, 25), (28, 44))


def preset(name: str, **overrides: Any) -> ConfigParser:
    """The preset at the size of this test; the channels are the paper's."""
    config = ConfigParser()
    config.read_config([str(CONFIGS / "train.json"), *with_bases(str(CONFIGS / "paper" / f"{name}.json"))])
    config.update({"image_size": SIZE, "device": "cpu", "warmup_epochs": 0, **overrides})
    return config


def fill(network: torch.nn.Module) -> None:
    """Weights by seed, in the order of their names."""
    random = np.random.RandomState(0)
    with torch.no_grad():
        for name, value in sorted(network.named_parameters()):
            fan_in = value[0].numel() if value.ndim > 1 else 0
            drawn = random.standard_normal(tuple(value.shape))
            # vectors are biases and, of a norm, scales around the 1 that they begin with; the latent's variance is
            # small, so that it keeps within the bounds that this package gives it
            spread = 0.2 if name.startswith("log_var") else 1.4
            value.copy_(
                torch.as_tensor(drawn * spread / fan_in**0.5 if fan_in else 0.1 * drawn + float(value.mean().round()))
            )


def slices() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in discs of several sizes: (N, 1, S, S) and the discs."""
    random = np.random.RandomState(1)
    x, y = np.mgrid[:SIZE, :SIZE]
    mask = np.stack([(x - 31) ** 2 + (y - 30 - k) ** 2 < (22 + 2 * k) ** 2 for k in range(BATCH)])[:, None]
    image = np.where(mask, 0.2 + 0.6 * random.rand(BATCH, 1, SIZE, SIZE), 0.0)
    return torch.as_tensor(image), torch.as_tensor(mask.astype(np.float64))


class Noise:
    """Stands for ``torch.randn_like``."""

    def __init__(self) -> None:
        self.random = np.random.RandomState(2)

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.random.standard_normal(tuple(like.shape)))


def summary(tensor: torch.Tensor) -> list[float]:
    """Mean, spread and largest value, by which a tensor is known again."""
    value = tensor.detach().double()
    return [float(value.mean()), float(value.std()), float(value.max())]


def pixels(maps: torch.Tensor) -> list[float]:
    """The map of each slice at four places."""
    return [float(one[0, a, b]) for one in maps.detach() for a, b in PIXELS]


def norm(value: torch.Tensor, *parts: torch.nn.Module) -> float:
    """Norm of the gradient on some parts of a network."""
    weights = [p for part in parts for p in part.parameters()]
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in found if g is not None).sqrt())


def numbers(name: str) -> dict[str, Any]:
    """All figures of a preset."""
    config = preset(name)
    network, loss = config.get_parsed_content("network_def"), config.get_parsed_content("loss")
    inferer, rate = config.get_parsed_content("map_inferer"), config.get_parsed_content("learning_rate")
    network.double()
    fill(network)
    image, mask = slices()
    volume = image.permute(1, 2, 3, 0)[None]
    found: dict[str, Any] = {}
    with mock.patch("torch.randn_like", Noise()):
        made = network.train()(image)
        terms = loss.terms(made, mask)
        found["features"] = summary(network.features(image))
        found["mu"], found["log_var"] = summary(made["mu"]), summary(made["log_var"])
        found["reconstruction"] = summary(made["reconstruction"])
        found["attention"] = summary(made["attention"])
        found["terms"] = {key: float(value.detach()) for key, value in terms.items()}
        early = (network.stem, network.stages[0])
        found["gradients"] = {
            "loss": norm(loss(made, mask), network),
            "loss, early": norm(loss(made, mask), *early),
            "constraint, early": norm(loss.weight * terms["constraint"], *early),
        }
        fill(network)
        _reset(network)
        found["losses"] = _steps(network, loss, rate, image, mask)
    maps = inferer(volume, network.eval())
    found["map"] = [*pixels(maps[0].movedim(-1, 0)), *summary(maps)]
    return found


def _reset(network: torch.nn.Module) -> None:
    """Forget what the norms have seen."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()


def _steps(network: Any, loss: Any, rate: float, image: torch.Tensor, mask: torch.Tensor) -> list[float]:
    optimizer, losses = torch.optim.Adam(network.parameters(), rate), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(network.train()(image), mask)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def rounded(value: Any) -> Any:
    """Six digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.6g}")


if __name__ == "__main__":
    print(json.dumps({name: rounded(numbers(name)) for name in PRESETS}))
