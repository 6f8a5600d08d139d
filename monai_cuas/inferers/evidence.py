# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The network's map on each scan's own scale, joined with how bright a voxel is for its scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.utils import convert_to_tensor

from .inferer import StandardizedIntensityInferer, unwrap
from .smoothing import BrainSmoothing

__all__ = ["EvidenceInferer"]


class EvidenceInferer(SliceInferer):
    """
    MONAI's ``SliceInferer``, its map smoothed and scaled by each scan; the intensity may be joined as evidence.

    1. The map is the mean over the slice and the mirrored slice (``flip``) and is smoothed in 3D within the brain, as
       slices are scored one by one and their noise is independent.
    2. With ``scan_scale``, the median of the brain becomes 0 and its 90% quantile 1, so that a scanner or an anatomy on
       which the network is more alarmed everywhere does not raise the rate of false positives. Lesions that cover a
       tenth of the brain are beyond what this scale can stand.
    3. The network's ``map_scale`` turns this into -log10 of the healthy p-value.
    4. The intensity goes the same way (``intensity_scale``) and is added ``brightness`` times. With a brightness of 1
       the sum is Fisher's statistic of the two p-values, with equal weights. A negative one turns the intensity over
       first: dark is suspicious.

    Networks without these scales, and weights whose scales ``fit_evidence`` never set, skip step 3.

    Args:
        brightness: weight of the intensity's evidence. 1 where bright is suspicious (FLAIR, T2, CT), 0 leaves it out
            (T1), -1: dark is.
        smoothing: standard deviation of the Gaussian in voxels of the network's grid, a number or one for each axis; 0:
            none.
        flip: also score the slices mirrored left to right.
        scan_scale: each scan has a scale of its own, for scans of other scanners than the training's; False finds more
            in scans of the same scanner and protocol.
        kwargs: of ``SliceInferer``.

    Raises:
        ValueError: if ``smoothing`` is negative or of a wrong length.
    """

    def __init__(
        self,
        *args: Any,
        brightness: float = 0.0,
        smoothing: float | Sequence[float] = 0.0,
        flip: bool = False,
        scan_scale: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.brightness, self.flip, self.smooth = float(brightness), flip, BrainSmoothing(smoothing)
        self.scan_scale = scan_scale
        # the baseline itself, so that what is joined is what stands beside it in the tables
        self.intensity = StandardizedIntensityInferer(smoothing=smoothing)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: gives the map of slices; its ``standardize`` gives the intensity.

        Returns:
            Map of shape (B, 1, X, Y, Z), 0 outside the brain: joined -log10 p-values, or, without scales, the map of
            step 2.
        """
        plain = convert_to_tensor(inputs, track_meta=False)
        brain = self._brain(plain)
        bare = unwrap(network)
        score = self._evidence(self.map_source(plain, network, *args, **kwargs), brain, "map_scale", bare)
        if self.brightness:
            intensity = self._evidence(self.intensity_source(plain, network), brain, "intensity_scale", bare)
            score = score + abs(self.brightness) * intensity
        return score

    def map_source(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the map of step 2, (B, 1, X, Y, Z)."""
        maps = self._scored(inputs, network, *args, **kwargs)
        if self.flip:
            maps = 0.5 * (maps + self._scored(inputs.flip(2), network, *args, **kwargs).flip(2))
        return self._prepared(self.smooth(maps, self._brain(inputs)), inputs)

    def intensity_source(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """Return the standardised intensity, turned over if dark counts, of step 2, (B, 1, X, Y, Z)."""
        image = self.intensity(inputs, network)
        return self._prepared(-image if self.brightness < 0 else image, inputs)

    def _scored(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        return convert_to_tensor(super().__call__(inputs, network, *args, **kwargs), track_meta=False).float()

    def _prepared(self, smooth: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        brain = self._brain(inputs)
        return self._scaled(smooth, brain) if self.scan_scale else torch.where(brain, smooth, 0.0)

    @staticmethod
    def _brain(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.amax(dim=1, keepdim=True) > 0

    @staticmethod
    def _evidence(source: torch.Tensor, brain: torch.Tensor, name: str, network: Any) -> torch.Tensor:
        scale = getattr(network, name, None)
        return source if scale is None else torch.where(brain, scale(source), 0.0)

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
