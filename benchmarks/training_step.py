# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
A training step of the default network: python benchmarks/training_step.py

First the step alone, on slices that are there, in float32 and in bfloat16, with one and with two threads. Then how long
it waits for its data, anomalies made, with 0, 1 and 2 workers: data are made from memory, as the cached slices are.
"""

from __future__ import annotations

import time

import torch
from monai.data import DataLoader
from monai.transforms import Compose

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


def main() -> None:
    """Print both tables."""
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
