# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What a volume of numbers is by its voxels alone: a scan, a mask, or a map of something else.

The limits lie between what real scans have and what masks and maps have. Of 90 real scans (T1, T2, FLAIR, diffusion,
CT, with and without skull) at most 0.30 of the neighbours are equal, neighbours differ by at least 0.06 standard
deviations for each millimetre, and the quartiles of the gradient are at least 0.99 of its median apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .background import plain_foreground

__all__ = ["MIN_VALUES", "MOST_LESION_ML", "Content", "content_of", "count_values"]

MIN_VALUES = 8
"""A scan has at least so many different values."""
MOST_LESION_ML = 500.0
"""No lesion is that large; a mask of the brain is."""

_MAX_FLAT = 0.5
_MIN_STEP_PER_MM = 0.02
_MAX_GRADIENT_SPREAD = 0.3
# Whole CT is smooth for its range of values, but for the edges of bone and air.
_MIN_EDGES = 10.0
# A brain fills more of a volume, or is larger.
_MIN_SHARE = 0.04
_MIN_ML = 400.0
_MIN_VOXELS = 100
# Of a map of probabilities, as of grey matter: share of its voxels that are nearly 1.
_CERTAIN, _MIN_CERTAIN = 0.95, 0.3
_UNCERTAIN = 0.05
# Standard deviations between the 5% and the 95% quantile of a normal distribution.
_WIDTHS = 3.29
_SAMPLE = 200_000


class Content(NamedTuple):
    """
    Args:
        kind: "" for a scan, or what cannot be told from one; "mask"; "map" of something that is neither.
        why: how it was told, without a full stop; "" for a scan.
        ml: volume of the mask, or of what is no background.
    """

    kind: str
    why: str
    ml: float


def content_of(channel: np.ndarray, inside: np.ndarray | None = None, affine: np.ndarray | None = None) -> Content:
    """
    Tell what a volume is.

    Args:
        channel: (X, Y, Z), finite.
        inside: (X, Y, Z) boolean, what is no background; None: what differs from the most common value on the faces.
        affine: (4, 4) voxel to mm; None: voxels of 1 mm.
    """
    affine = np.eye(4) if affine is None else affine
    inside = plain_foreground(channel) if inside is None else inside
    ml = float(inside.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    values = channel[inside]
    if not values.size:
        # An empty mask is all zero; a constant of another value is a fault of its own.
        return Content("mask", "all voxels are zero", 0.0) if not channel.any() else Content("", "", 0.0)
    if count_values(values) < MIN_VALUES:
        return Content("mask", f"only {count_values(values)} different values apart from the background", ml)
    if min(channel.shape) < 2:
        return Content("", "", ml)
    if _flat_share(channel, inside) > _MAX_FLAT:
        return Content("map", "a label map: equal numbers in flat regions", ml)
    if _is_probability(channel) and (found := _soft_mask(channel, inside, affine)):
        return found
    if inside.mean() < _MIN_SHARE and ml < _MIN_ML and values.size > _MIN_VOXELS:
        share = f"{inside.mean():.1%} of the voxels ({ml:.3g} ml) differ from the background"
        return Content("mask", f"only {share}, as in a soft mask or a thresholded map", ml)
    spread, step, edges = _smoothness(channel, inside, np.linalg.norm(affine[:3, :3], axis=0))
    if spread < _MAX_GRADIENT_SPREAD:
        return Content("map", "a map of distances: its gradient is the same everywhere", ml)
    if step < _MIN_STEP_PER_MM and edges < _MIN_EDGES:
        return Content("map", "a smooth field, as of a deformation or a bias: it shows no tissue", ml)
    return Content("", "", ml)


def count_values(values: np.ndarray) -> int:
    """Number of different values, counted in at most 200 000 of them."""
    return len(np.unique(values[:: max(1, values.size // (_SAMPLE // 2))]))


def _is_probability(channel: np.ndarray) -> bool:
    """Whether the values run from 0 to 1, 100 or 255 and no further."""
    low, high = float(channel.min()), float(channel.max())
    return low >= 0 and any(
        least <= high <= top * (1 + 1e-6) for least, top in ((0.1, 1.0), (90.0, 100.0), (230.0, 255.0))
    )


def _soft_mask(channel: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> Content | None:
    """A mask or map of probabilities: what is neither nearly 0 nor nearly 1 is its rim."""
    high = float(channel.max())
    some = inside & (channel > _UNCERTAIN * high)
    ml = float(some.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    if some.mean() < _MIN_SHARE and ml < _MIN_ML:
        return Content("mask", f"values from 0 to {high:g} that are above {_UNCERTAIN:.0%} in {ml:.3g} ml alone", ml)
    unit = channel.dtype.kind == "f" and high <= 1 + 1e-6
    if unit and float((channel[some] >= _CERTAIN * high).mean()) > _MIN_CERTAIN:
        return Content("map", "a map of probabilities: values from 0 to 1, of which many are nearly 1", ml)
    return None


def _flat_share(channel: np.ndarray, inside: np.ndarray) -> float:
    """
    Share of neighbours inside that are equal.

    Slices that only repeat their neighbour, as enlarging without interpolation makes them, are left out first.
    """
    for axis in range(3):
        ends = [slice(None)] * 3
        later, earlier = ends.copy(), ends.copy()
        later[axis], earlier[axis] = slice(1, None), slice(None, -1)
        others = tuple(k for k in range(3) if k != axis)
        new = np.append(True, (channel[tuple(later)] != channel[tuple(earlier)]).any(axis=others))
        channel, inside = np.compress(new, channel, axis), np.compress(new, inside, axis)
    equal, pairs = 0, 0
    for axis in range(3):
        here, there = np.moveaxis(inside, axis, 0), np.moveaxis(channel, axis, 0)
        both = here[1:] & here[:-1]
        equal += int((there[1:] == there[:-1])[both].sum())
        pairs += int(both.sum())
    return equal / pairs if pairs else 0.0


def _smoothness(channel: np.ndarray, inside: np.ndarray, sizes: np.ndarray) -> tuple[float, float, float]:
    """
    Of a sample of voxels: spread of the gradient's length by its median, largest median step between neighbours for
    each mm by the spread of values, and the 99% quantile of the gradient by its median.
    """
    core = inside.copy()
    for axis in range(3):
        moved = np.moveaxis(core, axis, 0)
        moved[[0, -1]] = False
    places = np.flatnonzero(core)
    if places.size < _MIN_VOXELS or not (np.isfinite(sizes).all() and (sizes > 0).all()):
        # what is wrong with the voxel's size is said elsewhere
        return np.inf, np.inf, np.inf
    x = np.unravel_index(places[:: max(1, places.size // (_SAMPLE // 4))], channel.shape)
    slopes = []
    steps = []
    for axis in range(3):
        after, before = list(x), list(x)
        after[axis], before[axis] = x[axis] + 1, x[axis] - 1
        ahead = channel[tuple(after)].astype(np.float64)
        slopes.append((ahead - channel[tuple(before)]) / (2 * sizes[axis]))
        step = np.abs(ahead - channel[x])[inside[tuple(after)]]
        # What does not change at all was enlarged without interpolation.
        steps.append(float(np.median(step[step > 0])) / sizes[axis] if (step > 0).any() else 0.0)
    low, middle, high, edge = np.percentile(np.sqrt(sum(slope**2 for slope in slopes)), (25, 50, 75, 99))
    # not the standard deviation, which one voxel of 1e9 decides
    deviation = float(np.subtract(*np.percentile(channel[x].astype(np.float64), (95, 5)))) / _WIDTHS
    if not middle or not deviation:
        return np.inf, np.inf, np.inf
    return float((high - low) / middle), max(steps) / deviation, float(edge / middle)
