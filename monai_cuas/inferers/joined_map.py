# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The network's map on each scan's own scale, joined with how bright a voxel is for its scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.utils import convert_to_tensor

from ..utils import RecordsArguments
from .inferer import StandardizedIntensityInferer, unwrap
from .smoothing import BrainSmoothing

__all__ = ["JoinedMapInferer", "join_p_values"]


def join_p_values(scores: Sequence[torch.Tensor], weights: Sequence[float], power: float) -> torch.Tensor:
    """
    Join p-values by their weighted power mean, (sum of w p^power)^(1 / power) (Vovk and Wang, Biometrika 2020).

    0 is the geometric mean, which ranks as Fisher's statistic and asks that all sources agree a little; -1 the harmonic
    mean (Wilson, PNAS 2019), for which one source that is sure is enough. The result is no p-value itself: the
    calibration gives it its scale.

    Args:
        scores: -log10 of p-values, of one shape.
        weights: one for each, positive; their sum does not matter.
        power: at most 0.

    Returns:
        -log10 of the mean, of the same shape; 0 where all are 0.

    Raises:
        ValueError: if the power is positive or infinite.
    """
    _checked(power)
    stacked = torch.stack(list(scores))
    share = torch.as_tensor(weights, dtype=stacked.dtype, device=stacked.device)
    share = (share / share.sum()).reshape(-1, *[1] * (stacked.ndim - 1))
    if power == 0:
        return (share * stacked).sum(dim=0)
    scale = -power * math.log(10.0)
    return torch.logsumexp(scale * stacked + share.log(), dim=0) / scale


def _checked(power: float) -> float:
    if not -math.inf < power <= 0:
        raise ValueError(f"power must be a finite number, at most 0, got {power}.")
    return float(power)


class JoinedMapInferer(RecordsArguments, SliceInferer):
    """
    MONAI's ``SliceInferer``, its map smoothed and scaled by each scan; the intensity may be joined to it.

    1. The map is the mean over the slice and the mirrored slice (``flip``) and is smoothed in 3D within the brain, as
       slices are scored one by one and their noise is independent.
    2. With ``normalize_map_per_scan``, the median of the brain becomes 0 and its 90% quantile 1, so that a scanner or
       an anatomy on which the network is more alarmed everywhere does not raise the rate of false positives. Lesions
       that cover a tenth of the brain are beyond what this scale can stand.
    3. The network's ``map_scale`` turns this into -log10 of the healthy p-value.
    4. The intensity goes the same way (``intensity_scale``), with the weight ``intensity_weight`` beside the map's 1,
       and the two p-values are joined by :func:`join_p_values`. A negative ``intensity_weight`` turns the intensity
       over first: dark is suspicious.

    Networks without these scales, and weights whose scales ``fit_source_scales`` never set, skip step 3.

    Args:
        intensity_weight: weight of the intensity's p-values. 1 where bright is suspicious (FLAIR, T2, CT), 0 leaves it
            out (T1), -1: dark is.
        joining_power: exponent of the mean that joins the two p-values, see :func:`join_p_values`.
        smoothing: standard deviation of the Gaussian in voxels of the network's grid, a number or one for each axis; 0:
            none.
        flip: also score the slices mirrored left to right.
        normalize_map_per_scan: each scan has a scale of its own, for scans of other scanners than the training's; False
            finds more in scans of the same scanner and protocol.
        kwargs: of ``SliceInferer``.

    Raises:
        ValueError: if ``smoothing`` is negative or of a wrong length, or ``joining_power`` is positive.
    """

    def __init__(
        self,
        *args: Any,
        intensity_weight: float = 0.0,
        joining_power: float = 0.0,
        smoothing: float | Sequence[float] = 0.0,
        flip: bool = False,
        normalize_map_per_scan: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.intensity_weight, self.flip, self.smooth = float(intensity_weight), flip, BrainSmoothing(smoothing)
        self.joining_power, self.normalize_map_per_scan = _checked(joining_power), normalize_map_per_scan
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
        bare = unwrap(network)
        score = self._p_values(self.map_source(plain, network, *args, **kwargs), "map_scale", bare)
        if self.intensity_weight:
            intensity = self._p_values(self.intensity_source(plain, network), "intensity_scale", bare)
            score = join_p_values([score, intensity], [1.0, abs(self.intensity_weight)], self.joining_power)
        return torch.where(self._brain(plain), score, 0.0)

    def map_source(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the map of step 2, (B, 1, X, Y, Z)."""
        maps = self._scored(inputs, network, *args, **kwargs)
        if self.flip:
            maps = 0.5 * (maps + self._scored(inputs.flip(2), network, *args, **kwargs).flip(2))
        return self._prepared(self.smooth(maps, self._brain(inputs)), inputs)

    def intensity_source(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """Return the standardised intensity, turned over if dark counts, of step 2, (B, 1, X, Y, Z)."""
        image = self.intensity(inputs, network)
        return self._prepared(-image if self.intensity_weight < 0 else image, inputs)

    def _scored(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        return convert_to_tensor(super().__call__(inputs, network, *args, **kwargs), track_meta=False).float()

    def _prepared(self, smooth: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        brain = self._brain(inputs)
        return self._scaled(smooth, brain) if self.normalize_map_per_scan else torch.where(brain, smooth, 0.0)

    @staticmethod
    def _brain(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.amax(dim=1, keepdim=True) > 0

    @staticmethod
    def _p_values(source: torch.Tensor, name: str, network: Any) -> torch.Tensor:
        scale = getattr(network, name, None)
        return source if scale is None else scale(source)

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
