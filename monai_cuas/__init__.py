# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""monai_cuas: constrained unsupervised anomaly segmentation for MONAI (train on normal scans, find lesions)."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
