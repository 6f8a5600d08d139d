# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .best_weights import BestWeightsSaver
from .dicom_seg_saver import DicomSegSaver
from .epoch_seed import EpochSeedHandler
from .finished import FinishedScans, remove_results
from .nan_stop import StopOnNan
from .progress import EpochProgressBar
from .result_saver import AnomalyResultSaver
from .scan_progress import ScanProgress
from .training_checkpoint import TrainingCheckpoint, find_checkpoints, remove_checkpoints

__all__ = [
    "AnomalyResultSaver",
    "BestWeightsSaver",
    "DicomSegSaver",
    "EpochProgressBar",
    "EpochSeedHandler",
    "FinishedScans",
    "ScanProgress",
    "StopOnNan",
    "TrainingCheckpoint",
    "find_checkpoints",
    "remove_checkpoints",
    "remove_results",
]
