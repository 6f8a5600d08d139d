# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Intensity transforms."""

from __future__ import annotations

from .array import DEFAULT_LEVELS, ForegroundQuantileScale, foreground_quantiles
from .bias import N4BiasCorrection, N4BiasCorrectionD, N4BiasCorrectiond, N4BiasCorrectionDict
from .dictionary import ForegroundQuantileScaleD, ForegroundQuantileScaled, ForegroundQuantileScaleDict

__all__ = [
    "DEFAULT_LEVELS",
    "ForegroundQuantileScale",
    "ForegroundQuantileScaleD",
    "ForegroundQuantileScaleDict",
    "ForegroundQuantileScaled",
    "N4BiasCorrection",
    "N4BiasCorrectionD",
    "N4BiasCorrectionDict",
    "N4BiasCorrectiond",
    "foreground_quantiles",
]
