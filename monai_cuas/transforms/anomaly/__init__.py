# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .array import DEFAULT_CONTENTS, DEFAULT_SHAPES, RandHealthyVariation, RandSyntheticAnomaly
from .dictionary import (
    RandHealthyVariationd,
    RandSyntheticAnomalyd,
)

__all__ = [
    "DEFAULT_CONTENTS",
    "DEFAULT_SHAPES",
    "RandHealthyVariation",
    "RandHealthyVariationd",
    "RandSyntheticAnomaly",
    "RandSyntheticAnomalyd",
]
