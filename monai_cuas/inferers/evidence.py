# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The network's map on each scan's own scale, joined with how bright a voxel is for its scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.utils import convert_to_tensor

from .inferer import unwrap

__all__ = ["EvidenceInferer"]


class EvidenceInferer(SliceInferer):
    """
    MONAI's ``SliceInferer``, its map scaled by two quantiles of each scan; intensity may be added on the same scale.

    The median of the brain becomes 0 and its 90% quantile 1, so that a scanner or an anatomy on which the network is a
    little more alarmed everywhere does not raise the rate of false positives. Lesions that cover a tenth of the brain
    are beyond what this scale can stand.

    Args:
        brightness: this many times the standardised intensity, on the same scale, is added: bright is suspicious, as
            on FLAIR. 0 leaves it out; negative: dark is suspicious.
        kwargs: of ``SliceInferer``.
    """

    def __init__(self, *args: Any, brightness: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.brightness = float(brightness)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: gives the map of slices; its ``standardize`` gives the intensity.

        Returns:
            Map of shape (B, 1, X, Y, Z), about 0 and 1 at the brain's median and 90% quantile; 0 outside the brain.
        """
        plain = convert_to_tensor(inputs, track_meta=False)
        brain = plain.amax(dim=1, keepdim=True) > 0
        maps = convert_to_tensor(super().__call__(inputs, network, *args, **kwargs), track_meta=False).float()
        score = self._scaled(maps, brain)
        if self.brightness:
            image = unwrap(network).standardize(plain).mean(dim=1, keepdim=True)
            score = score + self.brightness * self._scaled(image, brain)
        return score

    @staticmethod
    def _scaled(maps: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(maps)
        for volume, mask, target in zip(maps, brain, out):
            values = volume[mask].sort().values
            if not len(values):
                continue
            middle, high = values[len(values) // 2], values[int(0.9 * (len(values) - 1))]
            target[mask] = (volume[mask] - middle) / (high - middle).clamp(min=1e-6)
        return out
