# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .attention_map import gradient_weighted_map, mean_activation_map
from .calibration import DEFAULT_RATES, ScoreCalibration
from .standardization import DEFAULT_LEVELS, LandmarkStandardization

__all__ = [
    "DEFAULT_LEVELS",
    "DEFAULT_RATES",
    "LandmarkStandardization",
    "ScoreCalibration",
    "gradient_weighted_map",
    "mean_activation_map",
]
