# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tiny folders for the readers' tests, and where the real ones may lie."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHARED = os.environ.get("MONAI_CUAS_SHARED", Path(__file__).resolve().parents[3] / "shared")
REAL = Path(SHARED) / "data"


def scan(path: Path, shape=(4, 5, 6), values=None) -> Path:
    """Write a NIfTI file of ones, or of the given values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8) if values is None else values, np.eye(4)), path)
    return path


def real(name: str) -> Path:
    """The folder of a real data set; skips the test if it is not here."""
    if not (REAL / name).is_dir():
        pytest.skip(f"no real data at {REAL / name}")
    return REAL / name


def reasons(report) -> dict[str, str]:
    """Why a file was left out, by its name."""
    return {path.name: reason for path, reason in report.left_out}
