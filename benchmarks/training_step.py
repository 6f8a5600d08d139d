# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
A training step of the default network: python benchmarks/training_step.py [--paper]

First the step alone, on slices that are there, in float32 and in bfloat16, with one and with two threads. Then how long
it waits for its data, anomalies made, with 0, 1 and 2 workers: data are made from memory, as the cached slices are.

``--paper``: a step of ``paper/amcons.json`` (224 pixels, batch 8) with its decoder and with this package's, beside one
of a network that has the layers of the authors' code, in their order: what it costs, not what it computes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from monai.networks.nets.resnet import ResNetBlock
from monai.transforms import Compose

from monai_cuas.bundle import with_bases
from monai_cuas.data.seeded import SeededDataset
from monai_cuas.engines import PrepareBatchAnomaly
from monai_cuas.losses import SyntheticAnomalyLoss
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.networks.utils import has_fast_bfloat16
from monai_cuas.transforms import RandHealthyVariationd, RandSyntheticAnomalyd

WARM_UP, STEPS, BATCH = 4, 20, 8


def _slices(count: int) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    images = torch.nn.functional.pad(torch.rand(count, 1, 66, 96) * 0.5 + 0.2, (0, 0, 15, 15))
    return [{"image": image, "brain_mask": (image > 0).float()} for image in images]


def _data(count: int) -> SeededDataset:
    chain = Compose([RandHealthyVariationd("image"), RandSyntheticAnomalyd("image", soft_label=0.1)])
    return SeededDataset(_slices(count), chain, donor_key="donor")


class _Step:
    """One step of the default's training."""

    def __init__(self, cpu_bfloat16: bool) -> None:
        self.network = AnomalyUNet(
            features=(32, 32, 64, 128, 128, 32), mirror=True, pixel_unshuffle=2, cpu_bfloat16=cpu_bfloat16
        ).train()
        self.loss, self.optimizer = SyntheticAnomalyLoss(), torch.optim.Adam(self.network.parameters())
        self.prepare = PrepareBatchAnomaly()

    def __call__(self, batch: dict[str, torch.Tensor]) -> None:
        image, target = self.prepare(batch)
        self.optimizer.zero_grad()
        self.loss(self.network(image), target).backward()
        self.optimizer.step()


def step_milliseconds(cpu_bfloat16: bool) -> float:
    """Mean time of a step with eight slices of 96 x 96 that are there."""
    batch = next(iter(DataLoader(_data(BATCH), batch_size=BATCH)))
    step = _Step(cpu_bfloat16)
    for k in range(WARM_UP + STEPS):
        if k == WARM_UP:
            start = time.perf_counter()
        step(batch)
    return 1000 * (time.perf_counter() - start) / STEPS


def loader_milliseconds(workers: int) -> tuple[float, float]:
    """Mean time of a step with its data, and the part of it that is waiting for them."""
    loader = DataLoader(_data(BATCH * (WARM_UP + STEPS)), batch_size=BATCH, num_workers=workers)
    step, waited, batches = _Step(has_fast_bfloat16()), 0.0, iter(loader)
    for k in range(WARM_UP + STEPS):
        if k == WARM_UP:
            start, waited = time.perf_counter(), 0.0
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)
    return 1000 * (time.perf_counter() - start) / STEPS, 1000 * waited / STEPS


def _block(a: int, b: int, stride: int = 1) -> torch.nn.Module:
    skip = [torch.nn.Conv2d(a, b, 1, stride, bias=False), torch.nn.BatchNorm2d(b)]
    return ResNetBlock(a, b, 2, stride, downsample=torch.nn.Sequential(*skip) if stride > 1 or a != b else None)


def _up(a: int, b: int) -> list[torch.nn.Module]:
    """As much as the authors' upsampling block, whose norm and ReLU see the doubled side."""
    nn = torch.nn
    first = [nn.Conv2d(a, b, 3, padding=1), nn.Upsample(scale_factor=2), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
    return [*first, nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True), _block(b, b)]


class _AuthorsSizes(torch.nn.Module):
    """Layers of the authors' encoder and decoder, less the skip connections around the upsampling."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 64, 128, 256, 512)
        stages = [_block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])]
        again = [_block(b, b) for b in widths[1:]]
        self.stem = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.stages = torch.nn.ModuleList(torch.nn.Sequential(*pair) for pair in zip(stages, again))
        self.mu, self.log_var = torch.nn.Linear(512 * 14**2, 32), torch.nn.Linear(512 * 14**2, 32)
        self.dense = torch.nn.Linear(32, 256 * 14**2)
        ups = [layer for a in (256, 128, 64, 32) for layer in _up(a, a // 2)]
        self.decoder = torch.nn.Sequential(*ups, torch.nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        mu, log_var = self.mu(features[-1].flatten(1)), self.log_var(features[-1].flatten(1))
        z = mu + torch.randn_like(mu) * (0.5 * log_var).exp()
        attention = torch.nn.functional.interpolate(
            features[1].mean(1, keepdim=True), size=x.shape[-2:], mode="bilinear", align_corners=True
        )
        made = self.decoder(self.dense(z).unflatten(1, (256, 14, 14)))
        return {"image": x, "reconstruction": made, "mu": mu, "log_var": log_var, "attention": attention}


def paper_seconds(decoder: str | None, steps: int = 3) -> float:
    """Fastest step of ``paper/amcons.json`` with a decoder; None: of the authors' layers."""
    torch.manual_seed(0)
    configs = Path(__file__).parents[1] / "bundles" / "cuas" / "configs"
    config = ConfigParser()
    config.read_config([str(configs / "train.json"), *with_bases(str(configs / "paper" / "amcons.json"))])
    config.update({"network_def#decoder": decoder, "device": "cpu"} if decoder else {"device": "cpu"})
    network: Any = config.get_parsed_content("network_def") if decoder else _AuthorsSizes()
    loss, optimizer = config.get_parsed_content("loss"), torch.optim.Adam(network.parameters(), 1e-4)
    image, found = torch.rand(BATCH, 1, 224, 224), []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(network.train()(image), torch.ones_like(image)).backward()
        optimizer.step()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def paper() -> None:
    """Print the table of the paper's preset."""
    print("| threads | authors' layers, s | paper/amcons.json, s | with the default decoder, s |\n|---|---|---|---|")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        row = [f"{paper_seconds(decoder):.2f}" for decoder in (None, "basic_block", "residual_unit")]
        print(f"| {threads} | {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="a step of the paper's preset in their place")
    if parser.parse_args().paper:
        paper()
        return
    print("| threads | float32, ms | bfloat16, ms |\n|---|---|---|")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"| {threads} | {step_milliseconds(False):.0f} | {step_milliseconds(True):.0f} |", flush=True)
    torch.set_num_threads(1)
    print("\n| workers | step with its data, ms | of it waiting, ms |\n|---|---|---|")
    for workers in (0, 1, 2):
        whole, waiting = loader_milliseconds(workers)
        print(f"| {workers} | {whole:.0f} | {waiting:.0f} |", flush=True)


if __name__ == "__main__":
    main()
