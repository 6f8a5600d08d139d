# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Where lesions sit and how they are shaped: each kind is a list of blobs, made of layers of fractions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

__all__ = ["Layer", "Shape", "draw_shape"]


@dataclass(frozen=True)
class Layer:
    """One part of a lesion: its role (what it looks like) and the fraction of each voxel that it fills."""

    role: str
    fraction: np.ndarray


Builder = Callable[[tuple[slice, ...], np.ndarray, np.ndarray, np.random.Generator], tuple[list[Layer], "np.ndarray | None"]]  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Shape:
    """A lesion at a place.

    Attributes:
        centre: voxel index of the centre, shape (3,).
        reach: half edge lengths in voxels of the box that it can change, shape (3,).
        build: makes the layers and the displacement (in voxels, or None) inside a box.
    """

    centre: np.ndarray
    reach: np.ndarray
    build: Builder


def _offsets(box: tuple[slice, ...], centre: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Offsets from the centre in mm, (3, x, y, z) float32."""
    axes = [(np.arange(s.start, s.stop) - c) * d for s, c, d in zip(box, centre, step)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _noise(shape: tuple[int, ...], scale_mm: float, step: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1."""
    white = rng.standard_normal(shape).astype(np.float32)
    field = ndimage.gaussian_filter(white, np.maximum(scale_mm / step, 0.3))
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _ellipsoid(offsets: np.ndarray, rng: np.random.Generator, spread: float = 0.25) -> np.ndarray:
    """Distance from the centre in mm, in a randomly turned frame whose axes are stretched at equal volume."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.uniform(-spread, spread, 3))
    stretch /= np.prod(stretch) ** (1.0 / 3.0)
    turned = np.tensordot((turn / stretch[:, None]).astype(np.float32), offsets, axes=1)
    return np.sqrt((turned**2).sum(axis=0))


def _soft(signed_mm: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Fraction of a voxel inside a surface from the signed distance (positive inside) of its centre."""
    return np.clip(0.5 + signed_mm / float(np.mean(step)), 0.0, 1.0).astype(np.float32)


def _blob(offsets: np.ndarray, radius: float, rough: float, step: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Signed distance in mm (positive inside) of an irregular blob."""
    wobble = rough * radius * _noise(offsets.shape[1:], max(0.35 * radius, 1.0), step, rng)
    return radius + wobble - _ellipsoid(offsets, rng)


def _pick(allowed: np.ndarray, fallback: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random voxel of a mask (of the fallback if the mask is empty)."""
    candidates = np.flatnonzero(allowed)
    if not candidates.size:
        candidates = np.flatnonzero(fallback)
    return np.array(np.unravel_index(int(candidates[rng.integers(candidates.size)]), allowed.shape), dtype=float)


def _own_voxel(fraction: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Make sure that a lesion of about a voxel's size fills the voxel that it sits in."""
    nearest = int((offsets**2).sum(axis=0).argmin())
    fraction.flat[nearest] = max(float(fraction.flat[nearest]), 0.8)
    return fraction


def _tumour(centre: np.ndarray, size: float, step: np.ndarray, rng: np.random.Generator) -> Shape:
    radius = 0.5 * size
    core_radius = radius * rng.uniform(0.5, 0.7)
    core = str(rng.choice(["core_bright", "core_dark", "core_iso"]))
    push = rng.uniform(0.1, 0.3) * core_radius

    def build(box, brain, fluid, rng):
        offsets = _offsets(box, centre, step)
        outer = _blob(offsets, radius, 0.22, step, rng)
        inner = _blob(offsets, core_radius, 0.12, step, rng)
        core_fraction = _soft(inner, step) * brain
        # Oedema spreads through tissue, not through fluid; the core displaces both.
        oedema = np.maximum(_soft(outer, step) * (1.0 - fluid) * brain, core_fraction)
        length = np.sqrt((offsets**2).sum(axis=0)) + 1e-3
        amount = push * np.exp(-((length / (1.6 * radius)) ** 2)) * np.clip(length / core_radius, 0.0, 1.0)
        shift = offsets / length * amount / step.reshape(3, 1, 1, 1).astype(np.float32)
        return [Layer("oedema", oedema), Layer(core, core_fraction)], shift

    return Shape(centre, 2.6 * radius / step + 2, build)


def _plaque(centre: np.ndarray, size: float, step: np.ndarray, single: bool) -> Shape:
    radius = 0.5 * size

    def build(box, brain, fluid, rng):
        offsets = _offsets(box, centre, step)
        fraction = _soft(_blob(offsets, radius, 0.12, step, rng), step) * (1.0 - fluid) * brain
        return [Layer("plaque", _own_voxel(fraction, offsets) if single else fraction)], None

    return Shape(centre, 1.7 * radius / step + 2, build)


def _infarct(centre: np.ndarray, size: float, inward: np.ndarray, step: np.ndarray, rng: np.random.Generator) -> Shape:
    # A territory is a wedge with its base on the cortex; a cone of this opening has about a third of its ball.
    radius = 0.5 * size * 1.35
    opening = rng.uniform(0.55, 0.8)

    def build(box, brain, fluid, rng):
        apex = centre + inward * 1.2 * radius / step
        offsets = _offsets(box, centre, step)
        from_apex = _offsets(box, apex, step)
        length = np.sqrt((from_apex**2).sum(axis=0)) + 1e-3
        along = -np.tensordot(inward.astype(np.float32), from_apex, axes=1)
        wobble = 0.12 * radius * _noise(offsets.shape[1:], 0.3 * radius, step, rng)
        cone = along * np.tan(opening) - np.sqrt(np.maximum(length**2 - along**2, 0.0))
        ball = 1.25 * radius - np.sqrt((offsets**2).sum(axis=0))
        signed = np.minimum(cone * np.cos(opening), ball) + wobble
        return [Layer("infarct", _soft(signed, step) * (1.0 - fluid) * brain)], None

    return Shape(centre, 2.0 * radius / step + 2, build)


def _haematoma(centre: np.ndarray, size: float, step: np.ndarray, rng: np.random.Generator) -> Shape:
    radius = 0.5 * size
    inner = radius * rng.uniform(0.7, 0.9)
    push = 0.12 * radius

    def build(box, brain, fluid, rng):
        offsets = _offsets(box, centre, step)
        surface = _blob(offsets, inner, 0.15, step, rng)
        blood = _soft(surface, step) * brain
        rim = np.maximum(_soft(surface + radius - inner, step) * (1.0 - fluid) * brain, blood)
        length = np.sqrt((offsets**2).sum(axis=0)) + 1e-3
        amount = push * np.exp(-((length / (1.5 * radius)) ** 2)) * np.clip(length / inner, 0.0, 1.0)
        shift = offsets / length * amount / step.reshape(3, 1, 1, 1).astype(np.float32)
        return [Layer("blood_rim", rim), Layer("blood", _own_voxel(blood, offsets))], shift

    return Shape(centre, 2.4 * radius / step + 2, build)


def _resection(centre: np.ndarray, size: float, step: np.ndarray, rng: np.random.Generator) -> Shape:
    radius = 0.5 * size
    rim_mm = rng.uniform(0.0, 0.12) * radius

    def build(box, brain, fluid, rng):
        offsets = _offsets(box, centre, step)
        surface = _blob(offsets, radius, 0.1, step, rng)
        rim = _soft(surface, step) * brain
        hollow = _soft(surface - rim_mm, step) * brain
        return [Layer("gliosis", rim), Layer("fluid", hollow)], None

    return Shape(centre, 1.7 * radius / step + 2, build)


def _wm_lesions(
    size: float, brain: np.ndarray, solid: np.ndarray, depth: np.ndarray, step: np.ndarray, rng: np.random.Generator
) -> list[Shape]:
    count = int(rng.integers(4, 25))
    sizes = [size, *(float(max(2.0, size * f)) for f in rng.uniform(0.25, 0.9, count - 1))]
    return [_plaque(_pick(solid & (depth > 6.0), brain, rng), s, step, True) for s in sizes]


def draw_shape(
    kind: str,
    size: float,
    brain: np.ndarray,
    fluid: np.ndarray,
    white: np.ndarray | None,
    depth: np.ndarray,
    step: np.ndarray,
    rng: np.random.Generator,
) -> list[Shape]:
    """
    Choose where a lesion of a kind sits and what it is made of.

    Args:
        kind: "tumour", "wm_lesions", "stroke", "haemorrhage" or "cavity".
        size: diameter in mm (of the largest one for "wm_lesions").
        brain: (X, Y, Z) bool.
        fluid: (X, Y, Z) fluid fraction in [0, 1].
        white: (X, Y, Z) white matter fraction in [0, 1], or None if it is not known.
        depth: (X, Y, Z) distance below the brain's surface in mm.
        step: voxel size in mm, shape (3,).
        rng: source of all randomness.

    Returns:
        one shape for each lesion.
    """
    solid = brain & (fluid < 0.3)
    radius = 0.5 * size
    if kind == "wm_lesions":
        deep = solid & (white > 0.75) if white is not None else solid & (depth > 10.0)
        return _wm_lesions(size, brain, deep, depth, step, rng)
    if kind == "tumour":
        return [_tumour(_pick(solid & (depth > min(0.6 * radius, 14.0)), solid, rng), size, step, rng)]
    if kind == "haemorrhage":
        return [_haematoma(_pick(solid & (depth > min(0.8 * radius, 16.0)), solid, rng), size, step, rng)]
    if kind == "cavity":
        near = solid & (depth > 0.3 * radius) & (depth < max(0.9 * radius, 0.3 * radius + 6.0))
        return [_resection(_pick(near, solid, rng), size, step, rng)]
    surface = solid & (depth > 1.0) & (depth < 8.0)
    centre = _pick(surface, solid, rng)
    middle = np.array([float(np.mean(axis)) for axis in np.nonzero(brain)])
    inward = (middle - centre) * step
    inward /= max(float(np.linalg.norm(inward)), 1e-6)
    return [_infarct(centre, size, inward, step, rng)]
