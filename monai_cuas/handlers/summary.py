# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The figures of a finding: the same on the command line, on the server and in Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calibration.scores import p_value
from ..metrics import label_components, top_fraction_mean
from ..networks.layers import ScoreScale

__all__ = ["summarize"]


def summarize(
    anomaly: np.ndarray,
    mask: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    scale: ScoreScale | None,
    rate: float,
) -> dict[str, Any]:
    """
    Args:
        anomaly: (X, Y, Z), -log10 of the healthy exceedance rate.
        mask: (X, Y, Z) bool, what was found.
        brain: (X, Y, Z) bool.
        affine: 4 x 4, voxel to millimetres.
        scale: the score's scale, for the scan's p-value; None leaves it out.
        rate: healthy rate of the threshold.

    Returns:
        Volume in ml, number of components, score and p-value of the scan (None if unknown), threshold, and the share
        of the brain that was found.
    """
    millilitres = abs(np.linalg.det(affine[:3, :3])) / 1000
    rank = math.nan if scale is None else p_value(scale, anomaly[brain])
    return {
        "lesion_volume_ml": round(float(mask.sum() * millilitres), 4),
        "components": label_components(mask)[1],
        "nothing_found": not bool(mask.any()),
        "scan_score": round(float(top_fraction_mean(anomaly[brain])), 4),
        # JSON has no NaN
        "scan_p_value": None if math.isnan(rank) else round(rank, 4),
        "threshold_rate": rate,
        "threshold_score": round(-math.log10(rate), 4),
        "fraction_of_brain": round(float(mask.sum() / max(int(brain.sum()), 1)), 6),
    }
