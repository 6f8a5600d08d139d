# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions of the transforms of the anomaly map."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from ...networks.layers import ScoreScale
from .array import CalibrateAnomaly, MaskAnomaly, ThresholdAnomaly

__all__ = [
    "CalibrateAnomalyd",
    "MaskAnomalyd",
    "ThresholdAnomalyd",
]


class MaskAnomalyd(MapTransform):
    """
    Dictionary version of :class:`MaskAnomaly`.

    Args:
        keys: maps.
        mask_key: brain mask on the maps' grid.
        allow_missing_keys: skip keys that are absent.
    """

    backend = MaskAnomaly.backend

    def __init__(self, keys: KeysCollection, mask_key: str = "brain_mask", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.masker = MaskAnomaly()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.masker(d[key], d[self.mask_key])
        return d


class CalibrateAnomalyd(MapTransform):
    """
    Dictionary version of :class:`CalibrateAnomaly`.

    Args:
        keys: raw maps.
        scale: from raw values to scores.
        allow_missing_keys: skip keys that are absent.
    """

    backend = CalibrateAnomaly.backend

    def __init__(self, keys: KeysCollection, scale: ScoreScale, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.calibrator = CalibrateAnomaly(scale)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.calibrator(d[key])
        return d


class ThresholdAnomalyd(MapTransform):
    """
    Dictionary version of :class:`ThresholdAnomaly`; the threshold that was used is left in ``KEY_threshold``.

    Args:
        keys: maps.
        rate: healthy exceedance rate in (0, 1).
        threshold: score, instead of ``rate``.
        scale: may raise the threshold of a scan.
        mask_key: brain mask on the maps' grid; without one the threshold stays.
        allow_missing_keys: skip keys that are absent.
    """

    backend = ThresholdAnomaly.backend

    def __init__(
        self,
        keys: KeysCollection,
        rate: float | None = None,
        threshold: float | None = None,
        scale: ScoreScale | None = None,
        mask_key: str = "brain_mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.thresholder = ThresholdAnomaly(rate, threshold, scale)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            mask = d.get(self.mask_key)
            d[f"{key}_threshold"] = (
                self.thresholder.threshold if mask is None else self.thresholder.of_scan(d[key], mask)
            )
            d[key] = self.thresholder(d[key], mask)
        return d
