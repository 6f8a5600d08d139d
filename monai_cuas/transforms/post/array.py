# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Mask and threshold of an anomaly map."""

from __future__ import annotations

import math

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type

__all__ = ["MaskAnomaly", "ThresholdAnomaly"]


class MaskAnomaly(Transform):
    """Set the anomaly map to 0 outside the brain; the result has the geometry of the mask."""

    backend = [TransformBackends.TORCH]

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> torch.Tensor:  # type: ignore[override]
        """
        Args:
            img: (1, X, Y, Z) map.
            mask: (1, X, Y, Z) brain mask on the same grid.

        Returns:
            (1, X, Y, Z) float32 with the mask's affine.

        Raises:
            ValueError: if the grids differ.
        """
        anomaly = convert_data_type(img, torch.Tensor, dtype=torch.float32)[0]
        inside = convert_data_type(mask, torch.Tensor, device=anomaly.device)[0] > 0
        if anomaly.shape[1:] != inside.shape[1:]:
            raise ValueError(f"map {tuple(anomaly.shape)} and brain mask {tuple(inside.shape)} are on different grids.")
        out = torch.where(inside, anomaly, torch.zeros_like(anomaly))
        if not isinstance(mask, MetaTensor):
            return convert_to_dst_type(out, img)[0] if isinstance(img, MetaTensor) else out
        # The mask was never resampled: its affine is the scan's to the last bit, an inverted one is so up to rounding.
        meta = dict(img.meta if isinstance(img, MetaTensor) else mask.meta)
        return MetaTensor(out, meta={**meta, "affine": mask.affine})


class ThresholdAnomaly(Transform):
    """
    Mask of the voxels above the score that healthy voxels exceed at a given rate.

    On the calibrated scale a score s means that a fraction 10^-s of healthy brain voxels is higher, so the threshold
    for a rate is its -log10.

    Args:
        rate: healthy exceedance rate in (0, 1).
        threshold: score, instead of ``rate``.

    Raises:
        ValueError: unless exactly one is given, and for a rate that is not between 0 and 1.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, rate: float | None = None, threshold: float | None = None) -> None:
        if (rate is None) == (threshold is None):
            raise ValueError("give either rate or threshold.")
        if rate is not None and not 0 < rate < 1:
            raise ValueError(f"rate must be between 0 and 1, got {rate}.")
        self.threshold = -math.log10(rate) if rate is not None else float(threshold)  # type: ignore[arg-type]

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: map of any shape.

        Returns:
            uint8, 1 where the map is above the threshold.
        """
        return convert_to_dst_type(convert_data_type(img, torch.Tensor)[0] > self.threshold, img, dtype=torch.uint8)[0]
