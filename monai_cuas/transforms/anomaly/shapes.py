# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Outlines of training anomalies on a slice: anything but the ellipsoids and wedges of the test lesions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from skimage.draw import polygon2mask
from torch.nn import functional

__all__ = ["SHAPES", "random_field"]


def random_field(shape: tuple[int, int], sigma: float, rng: np.random.RandomState) -> np.ndarray:
    """Smooth Gaussian random field of standard deviation 1; ``sigma`` in pixels."""
    if sigma < 2:
        field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="wrap")
    else:
        # cubic interpolation of a coarse grid: as smooth, at a tenth of the time
        coarse = rng.standard_normal((1, 1, *(2 + int(n / (1.8 * sigma)) for n in shape))).astype(np.float32)
        field = functional.interpolate(torch.from_numpy(coarse), shape, mode="bicubic", align_corners=True)[0, 0]
        field = field.numpy()
    return field / max(float(field.std()), 1e-6)


def _offsets(shape: tuple[int, int], centre: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]).astype(np.float32), (columns - centre[1]).astype(np.float32)


def _field(shape: tuple[int, int], centre: tuple[int, int], size: float, rng: np.random.RandomState) -> np.ndarray:
    """Level set of a random field within a turned box or rhombus."""
    y, x = _offsets(shape, centre)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.5, 0.5))
    u = np.abs(y * np.cos(angle) + x * np.sin(angle)) * stretch
    v = np.abs(x * np.cos(angle) - y * np.sin(angle)) / stretch
    radius = max(0.6 * size, 0.6)
    window = np.maximum(u, v) / radius if rng.uniform() < 0.5 else (u + v) / (1.25 * radius)
    field = random_field(shape, max(0.8, 0.5 * size * rng.uniform(0.25, 0.7)), rng)
    return (field > rng.uniform(-0.6, 0.3)) & (window < 1)


def _polygon(shape: tuple[int, int], centre: tuple[int, int], size: float, rng: np.random.RandomState) -> np.ndarray:
    """Polygon of three to eight corners."""
    corners = int(rng.randint(3, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = max(0.5 * size, 0.8) * rng.uniform(0.5, 1.3, corners)
    points = np.stack([centre[0] + radii * np.sin(angles), centre[1] + radii * np.cos(angles)], axis=1)
    return polygon2mask(shape, points)


def _stroke(shape: tuple[int, int], centre: tuple[int, int], size: float, rng: np.random.RandomState) -> np.ndarray:
    """A winding line of some width."""
    steps = int(max(2.0, size * rng.uniform(0.8, 2.0)))
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, steps))
    path = np.array(centre) + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
    path = np.round(path).astype(int)
    path = path[((path >= 0) & (path < np.array(shape))).all(axis=1)]
    line = np.zeros(shape, dtype=bool)
    line[centre] = True
    line[path[:, 0], path[:, 1]] = True
    width = rng.uniform(0.0, max(0.3, 0.175 * size))
    return ndimage.distance_transform_edt(~line) <= width


def _scatter(shape: tuple[int, int], centre: tuple[int, int], size: float, rng: np.random.RandomState) -> np.ndarray:
    """Some small rectangles around a place."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(int(rng.randint(2, 12))):
        y, x = np.maximum(np.array(centre) + rng.normal(0, max(size, 6.0), 2), 0).astype(int)
        height, width = rng.randint(1, 1 + max(2, int(size / 4)), 2)
        mask[y : y + height, x : x + width] = True
    return mask


# each takes the slice's shape, the centre, the diameter in pixels and the source of randomness
SHAPES: dict[str, Callable[..., np.ndarray]] = {
    "field": _field,
    "polygon": _polygon,
    "stroke": _stroke,
    "scatter": _scatter,
}
