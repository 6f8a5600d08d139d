# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic lesions with exact masks, for phantoms and for real scans of healthy brains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .shapes import Layer, draw_shape

__all__ = ["LESION_KINDS", "SIZE_RANGE_MM", "BrainStats", "brain_statistics", "lesion_record", "simulate_lesion"]

LESION_KINDS = ("tumour", "wm_lesions", "stroke", "haemorrhage", "cavity")
# Diameters in mm from which sizes are drawn (logarithmically uniform).
SIZE_RANGE_MM = {
    "tumour": (12.0, 50.0),
    "wm_lesions": (2.0, 12.0),
    "stroke": (12.0, 50.0),
    "haemorrhage": (4.0, 45.0),
    "cavity": (10.0, 45.0),
}
# Absolute contrast, in units of the normal tissue range, from subtle to obvious.
CONTRAST_RANGE = (0.12, 1.0)

# What a part of a lesion looks like: its contrast as a multiple of the lesion's contrast.
LOOK: dict[str, dict[str, tuple[float, float]]] = {
    "flair": {
        "oedema": (0.7, 1.0),
        "core_bright": (1.0, 1.4),
        "core_dark": (-0.9, -0.5),
        "core_iso": (-0.1, 0.1),
        "plaque": (0.9, 1.1),
        "infarct": (0.9, 1.1),
        "blood": (-1.0, 0.8),
        "blood_rim": (0.3, 0.6),
        "gliosis": (0.2, 0.5),
    },
    "t1": {
        "oedema": (-0.6, -0.4),
        "core_bright": (0.3, 0.6),
        "core_dark": (-1.2, -0.8),
        "core_iso": (-0.2, 0.0),
        "plaque": (-0.8, -0.6),
        "infarct": (-0.8, -0.6),
        "blood": (-0.6, 0.8),
        "blood_rim": (-0.4, -0.2),
        "gliosis": (-0.3, -0.1),
    },
    "t2": {
        "oedema": (0.6, 0.9),
        "core_bright": (0.9, 1.2),
        "core_dark": (-0.4, -0.2),
        "core_iso": (0.0, 0.2),
        "plaque": (0.7, 0.9),
        "infarct": (0.7, 0.9),
        "blood": (-0.8, -0.4),
        "blood_rim": (0.3, 0.6),
        "gliosis": (0.2, 0.4),
    },
    "ct": {
        "oedema": (-0.4, -0.25),
        "core_bright": (0.3, 0.6),
        "core_dark": (-0.6, -0.4),
        "core_iso": (-0.05, 0.1),
        "plaque": (-0.5, -0.3),
        "infarct": (-0.6, -0.4),
        "blood": (0.9, 1.3),
        "blood_rim": (-0.4, -0.2),
        "gliosis": (-0.3, -0.1),
    },
}
# Parts that replace the tissue; the others shift its intensity and keep its texture.
_REPLACING = frozenset({"core_bright", "core_dark", "core_iso", "blood", "fluid"})


@dataclass(frozen=True)
class BrainStats:
    """Intensities of a scan that lesions are scaled by, in the scan's units.

    Attributes:
        low, high: 2nd and 98th percentile of the brain; ``high - low`` is the normal tissue range.
        tissue: typical intensity of solid tissue (median of what is not fluid).
        fluid: typical intensity of cerebrospinal fluid.
        noise: standard deviation of the noise.
    """

    low: float
    high: float
    tissue: float
    fluid: float
    noise: float

    @property
    def range(self) -> float:
        return max(self.high - self.low, 1e-6)


def _noise_level(image: np.ndarray, brain: np.ndarray) -> float:
    """Noise from second differences along the last axis but one (robust: median absolute deviation)."""
    difference = image[:, 2:] - 2.0 * image[:, 1:-1] + image[:, :-2]
    inside = brain[:, 2:] & brain[:, 1:-1] & brain[:, :-2]
    values = difference[inside]
    return float(np.median(np.abs(values)) / 0.6745 / np.sqrt(6.0)) if values.size else 0.0


def brain_statistics(image: np.ndarray, brain: np.ndarray, modality: str) -> tuple[BrainStats, np.ndarray]:
    """
    Estimate tissue intensities and the fluid fraction from the scan alone.

    Args:
        image: (X, Y, Z) intensities.
        brain: (X, Y, Z) bool.
        modality: "flair", "t1", "t2" or "ct"; fluid is the bright end of T2 and the dark end of the others.

    Returns:
        the statistics, and the fluid fraction (X, Y, Z) in [0, 1] (0 outside the brain).
    """
    low, middle, high = (float(v) for v in np.percentile(image[brain], (2.0, 50.0, 98.0)))
    extreme = high if modality == "t2" else low
    half = 0.5 * (extreme + middle)
    width = max(0.25 * abs(middle - extreme), 1e-6)
    away = (half - image) / width * (1.0 if middle > extreme else -1.0)
    fluid = np.where(brain, np.clip(0.5 + 0.5 * away, 0.0, 1.0), 0.0).astype(np.float32)
    solid = brain & (fluid < 0.5)
    tissue = float(np.median(image[solid])) if solid.any() else middle
    return BrainStats(low, high, tissue, extreme, _noise_level(image, brain)), fluid


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _render(
    image: np.ndarray, layers: list[Layer], fluid: np.ndarray, stats: BrainStats, strength: float, modality: str,
    texture: np.ndarray, gains: dict[str, float], noise: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Paint the layers, in order, into a box of the image."""
    out = image.astype(np.float32, copy=True)
    for layer in layers:
        low, high = LOOK[modality].get(layer.role, (0.0, 0.0))
        shift = (low + (high - low) * gains[layer.role]) * strength * stats.range
        if layer.role == "fluid":
            target = stats.tissue + min(1.0, strength / 0.6) * (stats.fluid - stats.tissue)
            painted = target + noise
        elif layer.role in _REPLACING:
            painted = stats.tissue + shift * texture + noise
        else:
            painted = out + shift * texture
        out += layer.fraction * (painted - out)
    return out


def _push(image: np.ndarray, brain: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """Mass effect: tissue around it is displaced by ``shift`` voxels (3, x, y, z); the brain's outline stays."""
    if shift is None:
        return image
    where = np.indices(image.shape, dtype=np.float32) - shift
    moved = ndimage.map_coordinates(image, where, order=1, mode="nearest")
    came_from_brain = ndimage.map_coordinates(brain.astype(np.float32), where, order=1, mode="nearest") > 0.99
    return np.where(came_from_brain & brain, moved, image)


def lesion_record(
    label: np.ndarray, before: np.ndarray, after: np.ndarray, tissue_range: float, spacing: Sequence[float] | np.ndarray
) -> dict[str, float | int]:
    """
    Measure a lesion mask.

    Args:
        label: (X, Y, Z) bool or 0/1.
        before: noise-free image without the lesion (same tissue displacement).
        after: image with the lesion.
        tissue_range: normal tissue range in the image's units.
        spacing: voxel size in mm.

    Returns:
        "size_mm" (equivalent diameter of the largest component, 26-connected), "contrast" (mean absolute change of
        intensity inside the mask in units of the tissue range, with the sign of the mean change), "volume_ml",
        "n_lesions".
    """
    inside = np.asarray(label) > 0
    components, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    voxel = float(np.prod(spacing))
    if not count:
        return {"size_mm": 0.0, "contrast": 0.0, "volume_ml": 0.0, "n_lesions": 0}
    largest = float(np.bincount(components.ravel())[1:].max()) * voxel
    change = (after[inside] - before[inside]) / tissue_range
    sign = 1.0 if change.mean() >= 0 else -1.0
    return {
        "size_mm": round((6.0 * largest / np.pi) ** (1.0 / 3.0), 2),
        "contrast": round(sign * float(np.abs(change).mean()), 3),
        "volume_ml": round(float(inside.sum()) * voxel / 1000.0, 3),
        "n_lesions": int(count),
    }


def _box(shape: tuple[int, ...], centre: np.ndarray, reach: np.ndarray) -> tuple[slice, ...]:
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high))


def _check(kind: str, modality: str, image: np.ndarray, brain: np.ndarray) -> None:
    if kind not in LESION_KINDS:
        raise ValueError(f"Unknown lesion kind {kind!r}; choose one of {', '.join(LESION_KINDS)}.")
    if modality not in LOOK:
        raise ValueError(f"Unknown modality {modality!r}; choose one of {', '.join(LOOK)}.")
    if image.ndim != 3 or image.shape != brain.shape:
        raise ValueError(f"A lesion needs a 3D image and a brain mask of its shape, not {image.shape}, {brain.shape}.")
    if not brain.any():
        raise ValueError("A lesion needs a brain: the brain mask is empty.")


def simulate_lesion(
    image: np.ndarray,
    brain_mask: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    kind: str,
    rng: np.random.Generator,
    modality: str = "flair",
    size_mm: float | None = None,
    contrast: float | None = None,
    tissue: np.ndarray | None = None,
    depth: np.ndarray | None = None,
    noise_std: float | None = None,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """
    Put a lesion into a scan of a healthy brain.

    Args:
        image: (X, Y, Z) brain-only intensities (background 0).
        brain_mask: (X, Y, Z), nonzero inside the brain.
        spacing: voxel size in mm, three values.
        kind: one of ``LESION_KINDS``.
        rng: source of all randomness.
        modality: "flair", "t1", "t2" or "ct"; what each part of a lesion looks like depends on it.
        size_mm: wanted diameter of the lesion (of the largest one for "wm_lesions"); drawn if None. Folds, fluid
            and the brain's edge take their part away, so the recorded size is measured and may be smaller.
        contrast: wanted contrast, positive, in units of the normal tissue range (2nd to 98th percentile of the
            brain); drawn from ``CONTRAST_RANGE`` if None. The sign follows from kind and modality.
        tissue: optional (3, X, Y, Z) fractions of fluid, grey and white matter; estimated from the image if None.
        depth: optional (X, Y, Z) distance below the brain's surface in mm; computed from the mask if None.
        noise_std: noise put into parts that replace tissue; estimated from the image if None.

    Returns:
        image (X, Y, Z) float32; lesion fraction (X, Y, Z) float32 in [0, 1] (a voxel is lesion where it is above
        0.5); record with "kind" and what :func:`lesion_record` measures.

    Raises:
        ValueError: for an unknown kind or modality, or an empty brain.
    """
    brain = np.asarray(brain_mask) > 0
    image = np.asarray(image, dtype=np.float32)
    _check(kind, modality, image, brain)
    step = np.asarray(spacing, dtype=float)
    size = _log_uniform(rng, *SIZE_RANGE_MM[kind]) if size_mm is None else float(size_mm)
    strength = _log_uniform(rng, *CONTRAST_RANGE) if contrast is None else abs(float(contrast))
    stats, fluid = brain_statistics(image, brain, modality)
    if tissue is not None:
        fluid = np.where(brain, tissue[0], 0.0).astype(np.float32)
    if depth is None:
        depth = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=step)[1:-1, 1:-1, 1:-1]
    white = tissue[2] if tissue is not None else None
    gains = {role: float(rng.uniform()) for role in sorted({*LOOK[modality], "fluid"})}
    noise_std = stats.noise if noise_std is None else float(noise_std)

    before, after = image.copy(), image.copy()
    fraction = np.zeros(image.shape, dtype=np.float32)
    for shape in draw_shape(kind, size, brain, fluid, white, depth, step, rng):
        box = _box(image.shape, shape.centre, shape.reach)
        layers, shift = shape.build(box, brain[box], fluid[box], rng)
        local = [x.shape for x in (image[box],)][0]
        texture = 1.0 + 0.15 * _unit_noise(local, 4.0 / step, rng)
        noise = noise_std * rng.standard_normal(local).astype(np.float32) if noise_std else np.float32(0.0)
        before[box] = _push(before[box], brain[box], shift)
        after[box] = _push(after[box], brain[box], shift)
        after[box] = _render(after[box], layers, fluid[box], stats, strength, modality, texture, gains, noise)
        for layer in layers:
            fraction[box] = np.maximum(fraction[box], layer.fraction)
    after[~brain] = image[~brain]
    fraction[~brain] = 0.0
    record = {"kind": kind, **lesion_record(fraction > 0.5, before, after, stats.range, step)}
    return after, fraction, record


def _unit_noise(shape: tuple[int, ...], sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return (field - field.mean()) / max(float(field.std()), 1e-6)
