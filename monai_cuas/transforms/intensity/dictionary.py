# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions of the intensity transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ...utils import ScanError
from .array import DEFAULT_LEVELS, ForegroundQuantileScale

__all__ = ["ForegroundQuantileScaled"]


class ForegroundQuantileScaled(MapTransform):
    """
    Dictionary version of :class:`ForegroundQuantileScale`.

    Args:
        keys: images.
        mask_key: foreground, (1, X, Y, Z), on the images' grid.
        levels: see :class:`ForegroundQuantileScale`.
        allow_missing_keys: skip keys that are absent.
    """

    backend = ForegroundQuantileScale.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain_mask",
        levels: Sequence[float] = DEFAULT_LEVELS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.scaler = ForegroundQuantileScale(levels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            try:
                d[key] = self.scaler(d[key], d[self.mask_key])
            except ValueError as error:
                file = d[key].meta.get("filename_or_obj", "scan") if isinstance(d[key], MetaTensor) else "scan"
                raise ScanError(
                    file, str(error).rstrip("."), "check the scan, and the intensity window if one is set"
                ) from error
        return d
