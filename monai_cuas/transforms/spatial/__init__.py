# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Spatial transforms."""

from __future__ import annotations

from .array import PadToPhysicalSquare
from .dictionary import PadToPhysicalSquareD, PadToPhysicalSquared, PadToPhysicalSquareDict

__all__ = ["PadToPhysicalSquare", "PadToPhysicalSquareD", "PadToPhysicalSquareDict", "PadToPhysicalSquared"]
