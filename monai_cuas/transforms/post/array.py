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

from ...networks.layers import ScoreScale

__all__ = ["CalibrateAnomaly", "MaskAnomaly", "ThresholdAnomaly"]


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


class CalibrateAnomaly(Transform):
    """
    From raw map values to the anomaly score, on the scan's own grid.

    Args:
        scale: the scale, as it is at the time of the call.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, scale: ScoreScale) -> None:
        self.scale = scale

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: raw map of any shape.

        Returns:
            The score, float32, of the same shape.
        """
        values = convert_data_type(img, torch.Tensor, dtype=torch.float32, device=self.scale.thresholds.device)[0]
        with torch.no_grad():
            score = self.scale(values.as_tensor() if isinstance(values, MetaTensor) else values)
        return convert_to_dst_type(score, img, dtype=torch.float32)[0]


class ThresholdAnomaly(Transform):
    """
    Mask of the voxels above the score that healthy voxels exceed at a given rate.

    On the calibrated scale a score s means that a fraction 10^-s of healthy brain voxels is higher, so the threshold
    for a rate is its -log10.

    Args:
        rate: healthy exceedance rate in (0, 1).
        threshold: score, instead of ``rate``.
        scale: its ``scan_threshold`` may raise the threshold of a scan; None: it is the same for every scan.

    Raises:
        ValueError: unless exactly one is given, and for a rate that is not between 0 and 1.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, rate: float | None = None, threshold: float | None = None, scale: ScoreScale | None = None
    ) -> None:
        if (rate is None) == (threshold is None):
            raise ValueError("give either rate or threshold.")
        if rate is not None and not 0 < rate < 1:
            raise ValueError(f"rate must be between 0 and 1, got {rate}.")
        self.threshold = -math.log10(rate) if rate is not None else float(threshold)  # type: ignore[arg-type]
        self.scale = scale

    def of_scan(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> float:
        """
        Threshold of one scan.

        Args:
            img: its map, any shape.
            mask: brain mask of the same shape.
        """
        if self.scale is None:
            return self.threshold
        values, inside = (convert_data_type(v, torch.Tensor)[0] for v in (img, mask))
        return self.scale.scan_threshold(values[inside.to(values.device) > 0], self.threshold)

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """
        Args:
            img: map of any shape.
            mask: brain mask of the same shape, which a ``scale`` asks for.

        Returns:
            uint8, 1 where the map is above the threshold.
        """
        threshold = self.threshold if mask is None else self.of_scan(img, mask)
        return convert_to_dst_type(convert_data_type(img, torch.Tensor)[0] > threshold, img, dtype=torch.uint8)[0]
