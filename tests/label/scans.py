# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scans for the server: brains of asymmetric content on an oblique grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

SHAPE = (40, 36, 20)


def oblique_affine(spacing: tuple[float, float, float] = (3.5, 4.0, 6.0)) -> np.ndarray:
    """Sagittal slices, turned by some degrees about each axis, right-handed or not as scanners have it."""
    affine = np.eye(4)
    sagittal = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    affine[:3, :3] = Rotation.from_euler("xyz", [9, -7, 12], degrees=True).as_matrix() @ sagittal * spacing
    affine[:3, 3] = (61.0, -70.0, -52.0)
    return affine


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))


def spot() -> np.ndarray:
    """A ball on one side, in front of and below the centre; no mirror image of itself."""
    centre = np.array([0.4, -0.3, 0.25])[:, None, None, None]
    return ((grid() - centre) ** 2).sum(0) < 0.025


def brain(seed: int = 0, with_spot: bool = True) -> np.ndarray:
    """(X, Y, Z) integers: a smooth brain on a background of 0, with a bright spot or without."""
    xyz, rng = grid(), np.random.default_rng(seed)
    image = 400 + 100 * xyz[0] + 60 * xyz[1] + 40 * xyz[2] + ndimage.gaussian_filter(rng.normal(0, 60, SHAPE), 1)
    if with_spot:
        image[spot()] = 1100
    return np.where((xyz**2).sum(0) < 0.85**2, image.round(), 0).astype(np.int16)


def save(path: Path, image: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(image, oblique_affine() if affine is None else affine), path)
    return path
