# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic anomalies on healthy slices, for training (dictionary version)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from .array import RandHealthyVariation, RandSyntheticAnomaly
from .contrast import RandTissueContrast
from .landmark_shift import RandLandmarkShift
from .scale import RandScanChange

__all__ = ["RandHealthyVariationd", "RandLandmarkShiftd", "RandSyntheticAnomalyd", "RandTissueContrastd"]


class RandHealthyVariationd(MapTransform, RandomizableTransform):
    """
    Dictionary version of :class:`RandHealthyVariation`.

    Args:
        keys: slices (C, H, W), standardised intensity.
        mask_key: brain mask (1, H, W).
        allow_missing_keys: pass data without the slice on as it is.
        **kwargs: see :class:`RandHealthyVariation`.
    """

    def __init__(
        self, keys: KeysCollection, mask_key: str = "brain_mask", allow_missing_keys: bool = False, **kwargs: Any
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.mask_key, self.vary = mask_key, RandHealthyVariation(**kwargs)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None):
        super().set_random_state(seed, state)
        self.vary.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.vary(d[key], d[self.mask_key])
        return d


class RandSyntheticAnomalyd(MapTransform, RandomizableTransform):
    """
    Dictionary version of :class:`RandSyntheticAnomaly`.

    Args:
        keys: key of the slice, (C, H, W), standardised intensity; one key only.
        mask_key: brain mask (1, H, W).
        label_key: where the label goes, (1, H, W).
        clean_key: where the unaltered slice goes; None keeps it nowhere.
        donor_key: another slice, if the data have one.
        allow_missing_keys: pass data without the slice on as it is.
        **kwargs: see :class:`RandSyntheticAnomaly`.

    Raises:
        ValueError: for more than one key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain_mask",
        label_key: str = "label",
        clean_key: str | None = "clean",
        donor_key: str = "donor",
        allow_missing_keys: bool = False,
        **kwargs: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        if len(self.keys) != 1:
            raise ValueError(f"RandSyntheticAnomalyd takes one key, not {len(self.keys)}.")
        self.mask_key, self.label_key, self.clean_key, self.donor_key = mask_key, label_key, clean_key, donor_key
        self.alter = RandSyntheticAnomaly(**kwargs)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None):
        super().set_random_state(seed, state)
        self.alter.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.clean_key is not None:
                d[self.clean_key] = d[key]
            d[key], d[self.label_key] = self.alter(d[key], d[self.mask_key], d.get(self.donor_key))
        return d


class _RandScanChanged(MapTransform, RandomizableTransform):
    """Dictionary version of a :class:`RandScanChange`: all keys are changed alike."""

    def __init__(self, keys: KeysCollection, change: RandScanChange, allow_missing_keys: bool) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.change = change

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None):
        super().set_random_state(seed, state)
        self.change.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.change.randomize(None)
        for key in self.key_iterator(d):
            d[key] = self.change(d[key], randomize=False)
        return d


class RandTissueContrastd(_RandScanChanged):
    """
    Dictionary version of :class:`RandTissueContrast`; all keys are given the same contrast.

    Args:
        keys: slices (C, H, W), standardised intensity, background 0, such as a slice and its donor.
        quantiles: see :class:`RandTissueContrast`.
        allow_missing_keys: skip keys that are absent.
        **kwargs: see :class:`RandTissueContrast`.
    """

    def __init__(
        self, keys: KeysCollection, quantiles: torch.Tensor, allow_missing_keys: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(keys, RandTissueContrast(quantiles, **kwargs), allow_missing_keys)


class RandLandmarkShiftd(_RandScanChanged):
    """
    Dictionary version of :class:`RandLandmarkShift`; all keys are shifted by the same lesion.

    Args:
        keys: slices (C, H, W), standardised intensity, background 0, such as a slice and its donor.
        quantiles: see :class:`RandLandmarkShift`.
        allow_missing_keys: skip keys that are absent.
        **kwargs: see :class:`RandLandmarkShift`.
    """

    def __init__(
        self, keys: KeysCollection, quantiles: torch.Tensor, allow_missing_keys: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(keys, RandLandmarkShift(quantiles, **kwargs), allow_missing_keys)
