# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .detection import detection_auroc, slice_scores, spread, top_fraction_mean
from .loss_term import LossTerm
from .voxel_ranking import VoxelRankingMetric

__all__ = ["LossTerm", "VoxelRankingMetric", "detection_auroc", "slice_scores", "spread", "top_fraction_mean"]
