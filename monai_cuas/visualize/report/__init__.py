# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .calibration import write_calibration_report
from .comparison import ReportTable, write_comparison_report
from .evaluation import keep_evaluated, remove_evaluated, write_evaluation_report
from .scans import volumes_path, write_scan_report
from .viewer import has_viewer
from .volumes import write_volumes

__all__ = [
    "ReportTable",
    "has_viewer",
    "keep_evaluated",
    "remove_evaluated",
    "volumes_path",
    "write_calibration_report",
    "write_comparison_report",
    "write_evaluation_report",
    "write_scan_report",
    "write_volumes",
]
