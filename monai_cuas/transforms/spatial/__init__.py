# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Spatial transforms."""

from __future__ import annotations

from .array import PadToPhysicalSquare
from .dictionary import PadToPhysicalSquared
from .registration import ICBM152, AlignPosed, pose_rotation, reference_mask

__all__ = [
    "ICBM152",
    "AlignPosed",
    "pose_rotation",
    "reference_mask",
    "PadToPhysicalSquare",
    "PadToPhysicalSquared",
]
