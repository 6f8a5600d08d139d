# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .attention_map import gradient_weighted_map, mean_activation_map, scaled_by_rows
from .calibration import (
    DEFAULT_RATES,
    MAX_SCANS,
    GuaranteedCalibration,
    ScoreCalibration,
    ScoreScale,
)
from .decoder import decoder_widths, make_decoder
from .normal_level import NormalLevel
from .standardization import DEFAULT_LEVELS, LandmarkStandardization

__all__ = [
    "DEFAULT_LEVELS",
    "DEFAULT_RATES",
    "GuaranteedCalibration",
    "LandmarkStandardization",
    "MAX_SCANS",
    "NormalLevel",
    "ScoreCalibration",
    "ScoreScale",
    "decoder_widths",
    "gradient_weighted_map",
    "make_decoder",
    "mean_activation_map",
    "scaled_by_rows",
]
