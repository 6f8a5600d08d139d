# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Masks that take long to find are found once."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import convert_data_type

from ...utils import CUASError, replacing
from .geometry import affine_of

__all__ = ["CachedMask"]


class CachedMask(Transform):
    """
    Keep the masks of another transform on disk, by the content of the image and the other's settings.

    Neither path nor time of the file matter: the same voxels and affine matrix give the same mask. Files are written
    whole or not at all, hold the mask alone, and may be deleted at any time.

    Args:
        masker: array transform from (1, X, Y, Z) to a mask; its ``parameters`` tell its settings.
        folder: made when the first mask is written.
    """

    def __init__(self, masker: Any, folder: str | os.PathLike) -> None:
        self.masker, self.folder = masker, Path(folder)

    def path(self, img: NdarrayOrTensor) -> Path:
        """File of an image's mask."""
        array = np.ascontiguousarray(convert_data_type(img, np.ndarray)[0], dtype=np.float32)
        settings = [type(self.masker).__name__, self.masker.parameters, array.shape, affine_of(img).round(4).tolist()]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(array.data)
        return self.folder / f"{digest.hexdigest()[:32]}.npz"

    def __call__(self, img: NdarrayOrTensor) -> MetaTensor:
        """
        Args:
            img: (1, X, Y, Z).

        Returns:
            (1, X, Y, Z) uint8, on the grid of ``img``.

        Raises:
            CUASError: if the folder cannot be written.
        """
        path = self.path(img)
        mask = self._read(path, tuple(img.shape))
        if mask is None:
            mask = np.asarray(convert_data_type(self.masker(img), np.ndarray)[0]) > 0
            self._write(path, mask)
        meta = dict(img.meta) if isinstance(img, MetaTensor) else None
        return MetaTensor(torch.from_numpy(mask.astype(np.uint8)), meta=meta, applied_operations=[])

    @staticmethod
    def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """None if there is no file, or a damaged one."""
        try:
            with np.load(path, allow_pickle=False) as file:
                bits = file["mask"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        size = int(np.prod(shape))
        return np.unpackbits(bits, count=size).reshape(shape) > 0 if bits.size == -(-size // 8) else None

    def _write(self, path: Path, mask: np.ndarray) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                np.savez_compressed(temporary, mask=np.packbits(mask))
        except OSError as error:
            raise CUASError(f"{self.folder}: brain masks cannot be kept here; choose another mask_cache.") from error
