# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Reading scans, checking them, and finding the brain in them."""

from __future__ import annotations

from .array import BrainMask, ValidateScan, background_value, foreground
from .dictionary import (
    BrainMaskD,
    BrainMaskd,
    BrainMaskDict,
    LoadScanD,
    LoadScand,
    LoadScanDict,
    ValidateScanD,
    ValidateScand,
    ValidateScanDict,
)
from .reader import SimpleITKReader
from .sequences import same_grid, stack_sequences

__all__ = [
    "BrainMask",
    "BrainMaskD",
    "BrainMaskDict",
    "BrainMaskd",
    "LoadScanD",
    "LoadScanDict",
    "LoadScand",
    "SimpleITKReader",
    "ValidateScan",
    "ValidateScanD",
    "ValidateScanDict",
    "ValidateScand",
    "background_value",
    "foreground",
    "same_grid",
    "stack_sequences",
]
