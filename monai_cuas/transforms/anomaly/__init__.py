# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .array import DEFAULT_CONTENTS, DEFAULT_SHAPES, RandHealthyVariation, RandSyntheticAnomaly
from .contrast import DEFAULT_ORDERS, FINE_LEVELS, RandTissueContrast
from .dictionary import RandHealthyVariationd, RandSyntheticAnomalyd, RandTissueContrastd

__all__ = [
    "DEFAULT_CONTENTS",
    "DEFAULT_ORDERS",
    "DEFAULT_SHAPES",
    "FINE_LEVELS",
    "RandHealthyVariation",
    "RandHealthyVariationd",
    "RandSyntheticAnomaly",
    "RandSyntheticAnomalyd",
    "RandTissueContrast",
    "RandTissueContrastd",
]
