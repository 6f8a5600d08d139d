# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .evidence import EvidenceInferer, join_evidence
from .exchange import AnomalibInferer
from .inferer import (
    CalibratedInferer,
    GuaranteedInferer,
    HistogramEqualizationInferer,
    StandardizedIntensityInferer,
    TrainingOutputInferer,
    VolumeScaledInferer,
    unwrap,
)
from .smoothing import BrainSmoothing

__all__ = [
    "AnomalibInferer",
    "BrainSmoothing",
    "CalibratedInferer",
    "EvidenceInferer",
    "GuaranteedInferer",
    "HistogramEqualizationInferer",
    "StandardizedIntensityInferer",
    "TrainingOutputInferer",
    "VolumeScaledInferer",
    "join_evidence",
    "unwrap",
]
