# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .array import DEFAULT_CONTENTS, DEFAULT_SHAPES, RandHealthyVariation, RandSyntheticAnomaly
from .dictionary import (
    RandHealthyVariationD,
    RandHealthyVariationd,
    RandHealthyVariationDict,
    RandSyntheticAnomalyD,
    RandSyntheticAnomalyd,
    RandSyntheticAnomalyDict,
)

__all__ = [
    "DEFAULT_CONTENTS",
    "DEFAULT_SHAPES",
    "RandHealthyVariation",
    "RandHealthyVariationD",
    "RandHealthyVariationDict",
    "RandHealthyVariationd",
    "RandSyntheticAnomaly",
    "RandSyntheticAnomalyD",
    "RandSyntheticAnomalyDict",
    "RandSyntheticAnomalyd",
]
