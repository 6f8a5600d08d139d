# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What MONAI's trainer and evaluator need to know about slices with a brain mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch

__all__ = ["PrepareBatchAnomaly", "PrepareBatchMasked"]


class PrepareBatchAnomaly(PrepareBatch):
    """
    Hand the altered slice to the network; brain mask, label and the slice as it was to the loss, as one tensor.

    Args:
        image_key: key of the altered slice, (N, C, H, W).
        target_keys: keys of brain mask (N, 1, H, W), label (N, 1, H, W) and unaltered slice (N, C, H, W).
    """

    def __init__(self, image_key: str = "image", target_keys: Sequence[str] = ("brain_mask", "label", "clean")) -> None:
        self.image_key, self.target_keys = image_key, tuple(target_keys)

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image = batchdata[self.image_key].to(device=device, non_blocking=non_blocking, **kwargs)
        return image, self._target(batchdata).to(device=device, non_blocking=non_blocking, **kwargs)

    def _target(self, batchdata: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([batchdata[key].float() for key in self.target_keys], dim=1)


class PrepareBatchMasked(PrepareBatchAnomaly):
    """
    Hand the image to the network and the brain mask, as it is, to the loss.

    The mask takes the place that a label has in supervised training: normal scans have none.

    Args:
        image_key: key of the image, (N, C, H, W).
        mask_key: key of the brain mask, (N, 1, H, W).
    """

    def __init__(self, image_key: str = "image", mask_key: str = "brain_mask") -> None:
        super().__init__(image_key, (mask_key,))

    def _target(self, batchdata: dict[str, torch.Tensor]) -> torch.Tensor:
        return batchdata[self.target_keys[0]]
