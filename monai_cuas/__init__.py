# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""monai_cuas: constrained unsupervised anomaly segmentation for MONAI (train on normal scans, find lesions)."""

from __future__ import annotations

from typing import Any

__all__ = ["Finding", "Model", "__version__", "load_model"]

__version__ = "0.4.0"


def __getattr__(name: str) -> Any:
    """Load what needs PyTorch when it is asked for, so that a command's --help does not wait for it."""
    if name in ("Finding", "Model", "load_model"):
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
