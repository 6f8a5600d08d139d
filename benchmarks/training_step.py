# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Time of a training step of the default network in float32 and in bfloat16: python benchmarks/training_step.py."""

from __future__ import annotations

import time

import torch

from monai_cuas.losses import SyntheticAnomalyLoss
from monai_cuas.networks.nets import AnomalyUNet
from monai_cuas.transforms import RandHealthyVariation, RandSyntheticAnomaly

WARM_UP, STEPS = 4, 20


def milliseconds(cpu_bfloat16: bool) -> float:
    """Mean time of a step with eight slices of 96 x 96, anomalies included."""
    torch.manual_seed(0)
    slices = torch.nn.functional.pad(torch.rand(8, 1, 66, 96) * 0.5 + 0.2, (0, 0, 15, 15))
    network = AnomalyUNet(
        features=(32, 32, 64, 128, 128, 32),
        mirror=True,
        pixel_unshuffle=2,
        anomaly=RandSyntheticAnomaly(soft_label=0.1),
        variation=RandHealthyVariation(),
        cpu_bfloat16=cpu_bfloat16,
    ).train()
    loss, optimizer = SyntheticAnomalyLoss(), torch.optim.Adam(network.parameters())
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = time.perf_counter()
        optimizer.zero_grad()
        loss(network(slices), slices > 0).backward()
        optimizer.step()
    return 1000 * (time.perf_counter() - start) / STEPS


def main() -> None:
    """Print a table: one and two threads, each type."""
    print("| threads | float32, ms | bfloat16, ms |\n|---|---|---|")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"| {threads} | {milliseconds(False):.0f} | {milliseconds(True):.0f} |", flush=True)


if __name__ == "__main__":
    main()
