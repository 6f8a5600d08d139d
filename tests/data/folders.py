# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tiny folders for the readers' tests, and where the real ones may lie."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

SHARED = os.environ.get("MONAI_CUAS_SHARED", Path(__file__).resolve().parents[3] / "shared")
REAL = Path(SHARED) / "data"


def scan(path: Path, shape=(4, 5, 6), values=None) -> Path:
    """Write a NIfTI file of ones, or of the given values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(np.ones(shape, np.uint8) if values is None else values, np.diag([4.0, 4.0, 4.0, 1.0])), path
    )
    return path


def picture(path: Path, values) -> Path:
    """Write a picture from (rows, columns) or (rows, columns, colours)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=values.ndim == 3), str(path))
    return path


def mvtec(folder: Path, good: int = 2, bad: int = 1, size=(24, 20), seed: int = 0) -> Path:
    """A category: stripes with noise; what is bad has a bright square, and a mask of it."""
    rng = np.random.default_rng(seed)

    def stripes():
        return 80 + 40 * np.sin(np.arange(size[1]) / 2) + rng.integers(0, 20, size)

    for k in range(good):
        picture(folder / "train" / "good" / f"{k:03d}.png", stripes())
    picture(folder / "test" / "good" / "000.png", stripes())
    for k in range(bad):
        image, mask = stripes(), np.zeros(size)
        image[6:12, 4:10], mask[6:12, 4:10] = 240, 255
        picture(folder / "test" / "hole" / f"{k:03d}.png", image)
        picture(folder / "ground_truth" / "hole" / f"{k:03d}_mask.png", mask)
    return folder


def real(name: str) -> Path:
    """The folder of a real data set; skips the test if it is not here."""
    if not (REAL / name).is_dir():
        pytest.skip(f"no real data at {REAL / name}")
    return REAL / name


def reasons(report) -> dict[str, str]:
    """Why a file was left out, by its name."""
    return {path.name: reason for path, reason in report.left_out}
