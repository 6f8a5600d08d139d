# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .adversarial import AdversarialTrainer, LatentPairs, ReconstructionPairs
from .tolerant import TolerantEvaluator
from .utils import PrepareBatchAnomaly, PrepareBatchMasked

__all__ = [
    "AdversarialTrainer",
    "LatentPairs",
    "PrepareBatchAnomaly",
    "PrepareBatchMasked",
    "ReconstructionPairs",
    "TolerantEvaluator",
]
