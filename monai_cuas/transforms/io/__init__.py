# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading scans, checking them, and finding the brain in them."""

from __future__ import annotations

from ...io.simpleitk import SimpleITKReader
from .array import BrainMask, ValidateScan, check_brain_volume, skull_in_view, unstripped_error
from .background import background_value, foreground
from .dictionary import (
    BrainMaskd,
    LoadScand,
    ValidateScand,
)
from .sequences import same_grid, stack_sequences

__all__ = [
    "BrainMask",
    "BrainMaskd",
    "LoadScand",
    "SimpleITKReader",
    "ValidateScan",
    "ValidateScand",
    "background_value",
    "check_brain_volume",
    "foreground",
    "same_grid",
    "skull_in_view",
    "stack_sequences",
    "unstripped_error",
]
