# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Read the lists of a ``dataset.json``."""

from __future__ import annotations

import json
import os
from typing import Any

from monai.data import load_decathlon_datalist

from ..utils import CUASError

__all__ = ["load_datalist"]


def load_datalist(path: str | os.PathLike, key: str, allow_empty: bool = False) -> list[dict[str, Any]]:
    """
    Entries of one list of a Decathlon-style ``dataset.json``, with absolute paths.

    Args:
        path: the file.
        key: "training", "calibration", "validation", "test_normal" or "test_lesion".
        allow_empty: give an empty list where the key is missing or empty.

    Raises:
        CUASError: if the file is missing or broken, or the list is missing or empty.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except OSError as error:
        raise CUASError(
            f"{path}: there is no such data list; give --dataset_dir a folder with dataset.json."
        ) from error
    except ValueError as error:
        raise CUASError(f"{path}: this is no valid JSON ({error}).") from error
    if not content.get(key):
        if allow_empty:
            return []
        raise CUASError(f"{path}: the list '{key}' is missing or empty; it has {', '.join(content) or 'nothing'}.")
    return load_decathlon_datalist(str(path), is_segmentation=True, data_list_key=key)
