# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The scanner: thick slices, bias field, edge slices, noise and an arbitrary intensity scale."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import RandBiasField, RandGaussianNoise, RandRicianNoise

__all__ = ["acquire", "thick_slices"]


def _edge_slices(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bright or dark slices at one or both ends of the brain, along the last axis."""
    gain = np.ones(image.shape[2], dtype=np.float32)
    used = np.flatnonzero(mask.any(axis=(0, 1)))
    for slices in (used, used[::-1]):
        if rng.uniform() < 0.35:
            count = min(int(rng.integers(1, 4)), len(slices))
            extreme = rng.choice([rng.uniform(0.65, 0.9), rng.uniform(1.1, 1.35)])
            gain[slices[:count]] = np.linspace(extreme, 1.0, count + 1)[:-1]
    return image * gain


def thick_slices(volumes: list[np.ndarray], affine: np.ndarray, factor: int) -> tuple[list[np.ndarray], np.ndarray]:
    """
    Average groups of slices along the last axis.

    Args:
        volumes: (X, Y, Z) arrays of one grid.
        affine: (4, 4) of that grid.
        factor: slices that become one.

    Returns:
        the averaged volumes (Z is padded with empty slices to a multiple of the factor) and their affine, whose
        origin is the centre of the first thick slice.
    """
    if factor == 1:
        return volumes, affine
    pad = -volumes[0].shape[2] % factor
    padded = [np.pad(v, ((0, 0), (0, 0), (0, pad))) for v in volumes]
    pooled = [v.reshape(*v.shape[:2], -1, factor).mean(axis=-1, dtype=np.float64).astype(np.float32) for v in padded]
    thick = affine.copy()
    thick[:3, 3] += affine[:3, 2] * (factor - 1) / 2.0
    thick[:3, 2] *= factor
    return pooled, thick


def acquire(image: np.ndarray, mask: np.ndarray, contrast: str, rng: np.random.Generator) -> np.ndarray:
    """
    Turn noise-free intensities into a stored scan.

    Args:
        image: (X, Y, Z) noise-free intensities: about [0, 1] for MRI, Hounsfield units for CT.
        mask: (X, Y, Z) bool, brain.
        contrast: "flair", "t1", "t2" or "ct".
        rng: source of all randomness.

    Returns:
        (X, Y, Z) int16, exactly 0 outside the brain and at least 1 inside.
    """
    ct = contrast == "ct"
    field = 0.008 if ct else 0.07
    bias = RandBiasField(degree=3, coeff_range=(-field, field), prob=1.0)
    noise = (
        RandGaussianNoise(prob=1.0, std=float(rng.uniform(1.0, 3.0)), sample_std=False)
        if ct
        else RandRicianNoise(prob=1.0, std=float(rng.uniform(0.01, 0.035)), sample_std=False)
    )
    for transform in (bias, noise):
        transform.set_random_state(state=np.random.RandomState(int(rng.integers(2**31))))
    volume = image if ct else _edge_slices(image, mask, rng)
    scan = noise(bias(torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None]))
    scale = 1.0 if ct else float(np.exp(rng.uniform(np.log(150.0), np.log(5000.0))))
    values = np.rint(np.asarray(scan)[0] * scale)
    return np.where(mask, np.clip(values, 1, 32767), 0).astype(np.int16)
