# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Masks that take long to find are found once."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import convert_data_type

from ...io.orientation import affine_of
from ..cache import ContentCache

__all__ = ["CachedMask"]


class CachedMask(Transform):
    """
    Keep the masks of another transform on disk, by the content of the image and the other's settings.

    Args:
        masker: array transform from (1, X, Y, Z) to a mask; its ``parameters`` tell its settings.
        folder: see :class:`ContentCache`.
    """

    def __init__(self, masker: Any, folder: str | os.PathLike) -> None:
        self.masker, self.cache = masker, ContentCache(folder)

    def __call__(self, img: NdarrayOrTensor) -> MetaTensor:
        """
        Args:
            img: (1, X, Y, Z).

        Returns:
            (1, X, Y, Z) uint8, on the grid of ``img``.

        Raises:
            CUASError: if the folder cannot be written.
        """
        array = np.asarray(convert_data_type(img, np.ndarray)[0], dtype=np.float32)
        settings = [type(self.masker).__name__, self.masker.parameters, affine_of(img).round(4).tolist()]

        def find() -> np.ndarray:
            return np.packbits(np.asarray(convert_data_type(self.masker(img), np.ndarray)[0]) > 0)

        bits = self.cache.get(settings, [array], find, (-(-array.size // 8),))
        mask = np.unpackbits(bits, count=array.size).reshape(array.shape)
        meta = dict(img.meta) if isinstance(img, MetaTensor) else None
        return MetaTensor(torch.from_numpy(mask), meta=meta, applied_operations=[])
