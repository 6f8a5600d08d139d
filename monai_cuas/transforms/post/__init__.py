# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Transforms of the anomaly map on the scan's own grid."""

from __future__ import annotations

from .array import CalibrateAnomaly, MaskAnomaly, ThresholdAnomaly
from .dictionary import (
    CalibrateAnomalyd,
    MaskAnomalyd,
    ThresholdAnomalyd,
)

__all__ = [
    "CalibrateAnomaly",
    "CalibrateAnomalyd",
    "MaskAnomaly",
    "MaskAnomalyd",
    "ThresholdAnomaly",
    "ThresholdAnomalyd",
]
