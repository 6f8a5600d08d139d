# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .detection import detection_auroc, slice_scores, spread, top_fraction_mean
from .froc import FROC_RATES, FreeResponse
from .lesions import SIZE_BINS, LesionMatch, equivalent_diameter, label_components, match_lesions, size_bin
from .loss_term import LossTerm
from .over_patients import FEWEST, mean_interval, paired_test, patient_interval
from .voxel_ranking import VoxelRankingMetric, ranking_figures

__all__ = [
    "FEWEST",
    "FROC_RATES",
    "SIZE_BINS",
    "FreeResponse",
    "LesionMatch",
    "LossTerm",
    "VoxelRankingMetric",
    "detection_auroc",
    "equivalent_diameter",
    "label_components",
    "match_lesions",
    "mean_interval",
    "paired_test",
    "patient_interval",
    "ranking_figures",
    "size_bin",
    "slice_scores",
    "spread",
    "top_fraction_mean",
]
