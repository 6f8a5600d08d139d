# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A toy set on which the anomaly is obvious: a grey disc with a darker core; the anomaly is a bright square."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

SIZE = 24


def toy_slices(n: int, seed: int = 0, anomaly: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Slices (n, 1, 24, 24) in [0, 1] with background 0, their brain masks and their anomalies."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")).float()
    images, masks, labels = [], [], []
    for _ in range(n):
        centre = SIZE / 2 - 0.5 + torch.rand(2, generator=generator) * 2 - 1
        distance = (grid - centre.view(2, 1, 1)).norm(dim=0)
        brain, label = distance < 10, torch.zeros(SIZE, SIZE, dtype=torch.bool)
        image = torch.where(distance < 4, 0.3, 0.45) + 0.02 * torch.randn(SIZE, SIZE, generator=generator)
        if anomaly:
            row, column = (int(v) for v in torch.randint(6, SIZE - 10, (2,), generator=generator))
            label[row : row + 4, column : column + 4] = True
            image[label] = 0.9
        images.append((image * brain).clamp(0, 1))
        masks.append(brain)
        labels.append(label & brain)
    return torch.stack(images)[:, None], torch.stack(masks)[:, None], torch.stack(labels)[:, None]


class ToySlices(Dataset):
    """Normal toy slices as the training loop takes them."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.images, self.masks, _ = toy_slices(n, seed)
        self.data: list[Any] = list(range(n))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "brain_mask": self.masks[index].to(torch.uint8), "subject": str(index)}
