# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Intensity transforms."""

from __future__ import annotations

from .array import DEFAULT_LEVELS, ForegroundQuantileScale, foreground_quantiles
from .bias import N4BiasCorrection, N4BiasCorrectiond
from .dictionary import ForegroundQuantileScaled
from .landmarks import LandmarkStandardize, LandmarkStandardized

__all__ = [
    "DEFAULT_LEVELS",
    "ForegroundQuantileScale",
    "ForegroundQuantileScaled",
    "LandmarkStandardize",
    "LandmarkStandardized",
    "N4BiasCorrection",
    "N4BiasCorrectiond",
    "foreground_quantiles",
]
