# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions of the transforms of the anomaly map."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from .array import MaskAnomaly, ThresholdAnomaly

__all__ = [
    "MaskAnomalyD",
    "MaskAnomalyDict",
    "MaskAnomalyd",
    "ThresholdAnomalyD",
    "ThresholdAnomalyDict",
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


class ThresholdAnomalyd(MapTransform):
    """
    Dictionary version of :class:`ThresholdAnomaly`.

    Args:
        keys: maps.
        rate: healthy exceedance rate in (0, 1).
        threshold: score, instead of ``rate``.
        allow_missing_keys: skip keys that are absent.
    """

    backend = ThresholdAnomaly.backend

    def __init__(
        self,
        keys: KeysCollection,
        rate: float | None = None,
        threshold: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.thresholder = ThresholdAnomaly(rate, threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.thresholder(d[key])
        return d


MaskAnomalyD = MaskAnomalyDict = MaskAnomalyd
ThresholdAnomalyD = ThresholdAnomalyDict = ThresholdAnomalyd
