# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Arrays that take long to make, kept on disk by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import CUASError, replacing
from ..utils.disk_cache import DEFAULT_LIMIT_GB, mark_cache, shrink_cache, used

__all__ = ["ContentCache"]


class ContentCache:
    """
    A folder of arrays, each named by a hash of the voxels and settings that it was made from.

    Neither path nor time of a scan's file matter: the same content gives the same result. Files are written whole or
    not at all and hold the array alone; they may be deleted at any time, and a damaged one is made again.

    Args:
        folder: made when the first array is written.
        limit_gb: how large it may become, in units of 10**9 bytes; what was longest unused is removed.
    """

    def __init__(self, folder: str | os.PathLike, limit_gb: float = DEFAULT_LIMIT_GB) -> None:
        self.folder, self.limit_gb = Path(folder), limit_gb

    def path(self, settings: Any, sources: Sequence[np.ndarray]) -> Path:
        """The file for some settings (anything that JSON takes) and the arrays that go in."""
        shapes = [[array.shape, str(array.dtype)] for array in sources]
        digest = hashlib.sha256(json.dumps([settings, shapes], sort_keys=True).encode())
        for array in sources:
            digest.update(np.ascontiguousarray(array).data)
        return self.folder / f"{digest.hexdigest()[:32]}.npz"

    def get(
        self, settings: Any, sources: Sequence[np.ndarray], make: Callable[[], np.ndarray], shape: tuple[int, ...]
    ) -> np.ndarray:
        """
        Give the array that is kept, or make and keep it.

        Args:
            settings: see :meth:`path`.
            sources: see :meth:`path`.
            make: makes the array.
            shape: that it has; a file with another one counts as damaged.

        Raises:
            CUASError: if the folder cannot be written.
        """
        path = self.path(settings, sources)
        try:
            with np.load(path, allow_pickle=False) as file:
                kept = file["array"]
            if kept.shape == shape:
                used(path)
                return kept
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            pass
        made = make()
        try:
            mark_cache(self.folder)
            with replacing(path) as temporary:
                np.savez_compressed(temporary, array=made)
            shrink_cache(self.folder, self.limit_gb)
        except OSError as error:
            raise CUASError(f"{self.folder}: cannot be written; choose another preprocessing_cache.") from error
        return made
