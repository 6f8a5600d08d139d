# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .page import write_scan_report

__all__ = ["write_scan_report"]
