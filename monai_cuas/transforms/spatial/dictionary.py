# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions of the spatial transforms."""

from __future__ import annotations

from monai.config import KeysCollection
from monai.transforms import Padd

from .array import PadToPhysicalSquare

__all__ = ["PadToPhysicalSquared"]


class PadToPhysicalSquared(Padd):
    """
    Dictionary version of :class:`PadToPhysicalSquare`; the inverse is that of :class:`monai.transforms.Padd`.

    Args:
        keys: images on one grid.
        margin_mm: free border on each side of the longer axis, in mm.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, margin_mm: float = 0.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, PadToPhysicalSquare(margin_mm), allow_missing_keys=allow_missing_keys)
