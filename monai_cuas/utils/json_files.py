# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""JSON files as the standard has them, and whole or absent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import replacing

__all__ = ["write_json"]


def _standard(value: Any) -> Any:
    """The value with null for NaN and infinity, which JSON does not have and other programs refuse."""
    if isinstance(value, Mapping):
        return {key: _standard(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike, content: Any, indent: int = 2) -> None:
    """
    Write a JSON file in one step.

    Args:
        path: its folder must exist.
        content: plain data; a number that is not finite becomes null.
        indent: spaces of a level.

    Raises:
        TypeError: if it is not plain data; the file that was there stays.
    """
    with replacing(path) as temporary:
        text = json.dumps(_standard(content), indent=indent, allow_nan=False)
        Path(temporary).write_text(text + "\n", encoding="utf-8")
