# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .attention_map import gradient_weighted_map, mean_activation_map
from .calibration import (
    DEFAULT_RATES,
    MAX_SCANS,
    SOURCE_RATES,
    GuaranteedCalibration,
    ScoreCalibration,
    ScoreScale,
    SourceScale,
)
from .standardization import DEFAULT_LEVELS, LandmarkStandardization

__all__ = [
    "DEFAULT_LEVELS",
    "DEFAULT_RATES",
    "SOURCE_RATES",
    "SourceScale",
    "GuaranteedCalibration",
    "LandmarkStandardization",
    "MAX_SCANS",
    "ScoreCalibration",
    "ScoreScale",
    "gradient_weighted_map",
    "mean_activation_map",
]
