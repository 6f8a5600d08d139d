# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .array import DEFAULT_CONTENTS, DEFAULT_SHAPES, RandHealthyVariation, RandSyntheticAnomaly
from .contrast import DEFAULT_ORDERS, RandTissueContrast
from .dictionary import RandHealthyVariationd, RandLandmarkShiftd, RandSyntheticAnomalyd, RandTissueContrastd
from .landmark_shift import RandLandmarkShift
from .scale import FINE_LEVELS

__all__ = [
    "DEFAULT_CONTENTS",
    "DEFAULT_ORDERS",
    "DEFAULT_SHAPES",
    "FINE_LEVELS",
    "RandHealthyVariation",
    "RandHealthyVariationd",
    "RandLandmarkShift",
    "RandLandmarkShiftd",
    "RandSyntheticAnomaly",
    "RandSyntheticAnomalyd",
    "RandTissueContrast",
    "RandTissueContrastd",
]
