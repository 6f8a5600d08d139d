# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What fills a training anomaly: each function gives the whole slice as it would look altered everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .shapes import random_field

__all__ = ["CONTENTS", "Site"]


@dataclass(frozen=True)
class Site:
    """Where and how strongly a slice is altered.

    Attributes:
        image: (H, W) standardised intensity.
        weight: (H, W) in [0, 1], the anomaly's outline.
        size: its diameter in pixels.
        strength: signed change of intensity.
        donor: (H, W) standardised intensity of another slice.
    """

    image: np.ndarray
    weight: np.ndarray
    size: float
    strength: float
    donor: np.ndarray

    @property
    def mean(self) -> float:
        """Mean intensity inside the outline."""
        return float((self.image * self.weight).sum() / max(float(self.weight.sum()), 1e-6))


def _shift(site: Site, rng: np.random.RandomState) -> np.ndarray:
    return site.image + site.strength


def _texture(site: Site, rng: np.random.RandomState) -> np.ndarray:
    pattern = random_field(site.image.shape, rng.uniform(0.7, 3.0), rng)
    return site.image + site.strength * (1 + rng.uniform(0.2, 0.8) * pattern)


def _flat(site: Site, rng: np.random.RandomState) -> np.ndarray:
    out = np.full_like(site.image, np.clip(site.mean + site.strength, 0.01, 1.0))
    out += rng.uniform(0, 0.04) * rng.standard_normal(out.shape).astype(np.float32)
    return out + rng.choice([0.0, rng.uniform(0, 0.08)]) * random_field(out.shape, rng.uniform(1.0, 3.0), rng)


def _donor(site: Site, rng: np.random.RandomState) -> np.ndarray:
    """Foreign patch interpolation (Tan et al. 2020): another slice, moved or mirrored, blended in."""
    donor = site.donor
    if rng.uniform() < 0.5:
        donor = np.roll(donor, tuple(rng.randint(-25, 26, 2)), axis=(0, 1))
    if rng.uniform() < 0.3:
        donor = donor[::-1]
    blend = rng.choice([1.0, rng.uniform(0.4, 1.0)])
    return np.where(donor > 0.01, site.image + blend * (donor - site.image), site.image)


def _warp(site: Site, rng: np.random.RandomState) -> np.ndarray:
    """Tissue displaced within the outline, at random or away from its middle or towards it."""
    shape = site.image.shape
    grid = np.indices(shape, dtype=np.float32)
    if rng.uniform() < 0.5:
        reach = rng.uniform(0.3, 1.0) * max(1.5, 0.25 * site.size)
        move = np.stack([random_field(shape, max(2.0, 0.3 * site.size), rng) for _ in range(2)]) * reach
    else:
        centre = (grid * site.weight).sum(axis=(1, 2)) / max(float(site.weight.sum()), 1e-6)
        move = (grid - centre[:, None, None]) * rng.uniform(0.3, 0.8) * rng.choice([-1, 1])
    moved = ndimage.map_coordinates(site.image, grid + move * site.weight, order=1, mode="nearest")
    return np.where(moved < 0.02, site.image, moved)


def _blur(site: Site, rng: np.random.RandomState) -> np.ndarray:
    return ndimage.gaussian_filter(site.image, rng.uniform(1.0, 4.0))


def _noise(site: Site, rng: np.random.RandomState) -> np.ndarray:
    """Coarse noise (Kascenas et al. 2022)."""
    return site.image + abs(site.strength) * random_field(site.image.shape, rng.uniform(0.6, 4.0), rng)


def _gain(site: Site, rng: np.random.RandomState) -> np.ndarray:
    """Local contrast lowered, turned round or raised."""
    gain = rng.choice([rng.uniform(-1.0, 0.5), rng.uniform(1.6, 3.0)])
    return site.mean + (site.image - site.mean) * gain + 0.3 * site.strength


def _core(site: Site, rng: np.random.RandomState) -> np.ndarray:
    """Core and rim, as of a tumour: the rim is shifted, the core is flat, and darker or brighter than its rim."""
    depth = ndimage.distance_transform_edt(site.weight > 0.5)
    depth = depth / max(float(depth.max()), 1e-6)
    core = 1.0 / (1.0 + np.exp((rng.uniform(0.2, 0.7) - depth) / 0.08))
    rim = site.image + site.strength * (
        1 + rng.uniform(0.0, 0.5) * random_field(depth.shape, rng.uniform(1.0, 3.0), rng)
    )
    inner = np.clip(site.mean + site.strength * rng.uniform(-1.5, 1.5), 0.01, 1.0)
    return rim + core * (inner - rim)


CONTENTS: dict[str, Callable[[Site, np.random.RandomState], np.ndarray]] = {
    "shift": _shift,
    "texture": _texture,
    "flat": _flat,
    "donor": _donor,
    "warp": _warp,
    "blur": _blur,
    "noise": _noise,
    "gain": _gain,
    "core": _core,
}
