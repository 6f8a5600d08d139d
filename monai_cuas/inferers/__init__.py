# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .anomalib.inferer import AnomalibInferer
from .brain import brain_of
from .depth_contrast import depth_contrast_of
from .eroded import ErodedSliceInferer
from .inferer import (
    CalibratedInferer,
    GuaranteedInferer,
    HistogramEqualizationInferer,
    StandardizedIntensityInferer,
    TrainingOutputInferer,
    VolumeScaledInferer,
    unwrap,
)
from .joined_map import JoinedMapInferer
from .smoothing import BrainSmoothing
from .texture import texture_of

__all__ = [
    "AnomalibInferer",
    "BrainSmoothing",
    "CalibratedInferer",
    "ErodedSliceInferer",
    "JoinedMapInferer",
    "GuaranteedInferer",
    "HistogramEqualizationInferer",
    "StandardizedIntensityInferer",
    "TrainingOutputInferer",
    "VolumeScaledInferer",
    "brain_of",
    "depth_contrast_of",
    "texture_of",
    "unwrap",
]
