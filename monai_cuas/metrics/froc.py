# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Free-response curve: lesions that are found against false positives in a scan, over thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .lesions import match_lesions

__all__ = ["FROC_RATES", "FreeResponse"]

FROC_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Healthy rates whose thresholds are the points of the curve."""


class FreeResponse:
    """
    Lesions found and false positives, added scan by scan.

    Args:
        rates: healthy rates of the thresholds, descending; a map is -log10 of the rate.
    """

    def __init__(self, rates: Sequence[float] = FROC_RATES) -> None:
        self.rates = tuple(rates)
        self.lesions, self.scans = 0, 0
        self.found, self.false_positives = np.zeros(len(self.rates)), np.zeros(len(self.rates))

    def add(self, anomaly: np.ndarray, truth: np.ndarray, brain: np.ndarray, ignored: np.ndarray | None = None) -> None:
        """
        Count a scan.

        Args:
            anomaly: calibrated map, (X, Y, Z), -log10 of the healthy rate.
            truth: lesion voxels, (X, Y, Z) boolean; none of a normal scan.
            brain: voxels that count, or are ignored, (X, Y, Z) boolean.
            ignored: voxels that are neither lesion nor healthy, (X, Y, Z) boolean.
        """
        # a lesion is what was drawn, in the brain or not, so the box holds both
        box = (ndimage.find_objects((brain | truth).astype(np.uint8)) or [(slice(0, 0),) * 3])[0]
        anomaly, truth, brain = anomaly[box], truth[box], brain[box]
        ignored = None if ignored is None else ignored[box]
        self.scans += 1
        for k, rate in enumerate(self.rates):
            match = match_lesions(anomaly >= -np.log10(rate), truth, brain, ignored)
            self.found[k] += sum(match.found)
            self.false_positives[k] += match.false_positives
        self.lesions += len(match.found)

    def curve(self) -> dict[str, list[float]]:
        """
        Returns:
            "rate", "recall" of lesions and "fp_per_scan", a point for each rate; empty without a lesion.
        """
        if not self.lesions:
            return {"rate": [], "recall": [], "fp_per_scan": []}
        return {
            "rate": list(self.rates),
            "recall": (self.found / self.lesions).tolist(),
            "fp_per_scan": (self.false_positives / self.scans).tolist(),
        }
