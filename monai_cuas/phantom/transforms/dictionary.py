# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic lesions as a MONAI transform (dictionary version)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform, RandomizableTransform

from ..lesions import LESION_KINDS
from .array import SimulateLesion

__all__ = ["SimulateLesiond"]


class SimulateLesiond(MapTransform, RandomizableTransform):
    """
    Dictionary version of :class:`SimulateLesion`.

    Args:
        keys: key of the scan, (1, X, Y, Z); one key only.
        label_key: where the lesion mask goes, (1, X, Y, Z) uint8.
        record_key: where the record goes (dict; empty if there is no lesion).
        mask_key: key of the brain mask; scan != 0 if None.
        kinds, modality, prob, size_mm, contrast: see :class:`SimulateLesion`.
        allow_missing_keys: pass data without the scan on as it is.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        label_key: str = "label",
        record_key: str = "lesion",
        mask_key: str | None = None,
        kinds: Sequence[str] = LESION_KINDS,
        modality: str = "flair",
        prob: float = 1.0,
        size_mm: float | None = None,
        contrast: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 1:
            raise ValueError(f"SimulateLesiond takes one key, not {len(self.keys)}.")
        self.label_key, self.record_key, self.mask_key = label_key, record_key, mask_key
        self.simulate = SimulateLesion(kinds, modality, prob, size_mm, contrast)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> SimulateLesiond:
        super().set_random_state(seed, state)
        self.simulate.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            mask = d[self.mask_key] if self.mask_key is not None else None
            d[key], d[self.label_key], d[self.record_key] = self.simulate(d[key], mask)
        return d
