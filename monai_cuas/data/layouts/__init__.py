# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Readers: each turns a folder of a known layout into one list of scans, without copying data."""

from __future__ import annotations

from .base import ReadReport, ScanEntry
from .registry import LAYOUTS, detect_layout, read_layout

__all__ = ["LAYOUTS", "ReadReport", "ScanEntry", "detect_layout", "read_layout"]
