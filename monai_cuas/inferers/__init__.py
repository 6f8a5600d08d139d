# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .inferer import (
    CalibratedInferer,
    HistogramEqualizationInferer,
    StandardizedIntensityInferer,
    TrainingOutputInferer,
    VolumeScaledInferer,
    unwrap,
)

__all__ = [
    "CalibratedInferer",
    "HistogramEqualizationInferer",
    "StandardizedIntensityInferer",
    "TrainingOutputInferer",
    "VolumeScaledInferer",
    "unwrap",
]
