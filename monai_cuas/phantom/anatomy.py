# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A random healthy brain: deformed template, tissue intensities and the healthy variation that is no lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import Rand3DElastic, RandSmoothFieldAdjustIntensity
from scipy import ndimage

from .template import COARSE_MM, Template, load_template, sample_field

__all__ = ["CONTRASTS", "Phantom", "simulate_brain"]

# Intensities of fluid, grey matter and white matter: (mean, standard deviation over subjects). MRI in arbitrary
# units of about [0, 1], CT in Hounsfield units.
CONTRASTS: dict[str, dict[str, tuple[float, float]]] = {
    "flair": {"csf": (0.17, 0.04), "gm": (0.70, 0.03), "wm": (0.56, 0.03)},
    "t1": {"csf": (0.20, 0.04), "gm": (0.58, 0.03), "wm": (0.84, 0.03)},
    "t2": {"csf": (1.00, 0.05), "gm": (0.58, 0.03), "wm": (0.44, 0.03)},
    "ct": {"csf": (9.0, 1.5), "gm": (37.0, 1.2), "wm": (29.0, 1.2)},
}
# How bright caps around the horns of the ventricles are, in units of the grey matter intensity.
_CAP_GAIN = {"flair": 0.45, "t1": -0.12, "t2": 0.25, "ct": -0.08}


@dataclass
class Phantom:
    """A noise-free scan on a regular grid.

    Attributes:
        image: (X, Y, Z) float32, noise-free intensities; 0 outside the brain.
        brain: (X, Y, Z) float32, fraction of brain in [0, 1].
        tissue: (3, X, Y, Z) float32, fractions of fluid, grey and white matter in [0, 1].
        depth: (X, Y, Z) float32, distance below the brain's surface in mm.
        affine: (4, 4) float64, voxel to world (RAS, mm).
    """

    image: np.ndarray
    brain: np.ndarray
    tissue: np.ndarray
    depth: np.ndarray
    affine: np.ndarray


def _state(rng: np.random.Generator) -> np.random.RandomState:
    """Random state for a MONAI transform, drawn from the subject's generator."""
    return np.random.RandomState(int(rng.integers(2**31)))


def _grid(template: Template, spacing: float, rotation: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """World points (3, x, y, z) of a grid that covers the rotated head, and its affine."""
    half = template.extent / 2.0
    centre = template.origin + half
    reach = np.abs(rotation.T) @ (half + 12.0)
    size = np.ceil(2.0 * reach / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2.0)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij")).astype(np.float64)
    points = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3].reshape(3, 1, 1, 1)
    return torch.from_numpy(points.astype(np.float32)), affine


def _deformed_positions(template: Template, rng: np.random.Generator) -> torch.Tensor:
    """
    Template position (3, x, y, z; mm) that is seen at each voxel of the coarse grid.

    The ventricles' walls are moved by a few mm, left and right on their own; then MONAI's Rand3DElastic applies the
    elastic and the affine deformation to the position field itself, so that tissue maps are interpolated only once.
    """
    both = rng.gamma(2.0, 0.8) - 0.8
    left, right = both + rng.normal(0.0, 0.7, 2)
    side = torch.sigmoid(template.position[0] / 4.0)
    shift = torch.clamp(left * (1.0 - side) + right * side, -1.0, 5.0)
    position = template.position - shift * template.expansion
    sigma = rng.uniform(3.0, 5.0)
    # Smoothing uniform noise on [-1, 1] by a Gaussian leaves this standard deviation; magnitude undoes it.
    residual = (4.0 * np.pi * sigma**2) ** -0.75 / np.sqrt(3.0)
    wanted = rng.uniform(1.0, 2.2) / COARSE_MM
    elastic = Rand3DElastic(
        sigma_range=(sigma, sigma),
        magnitude_range=(wanted / residual, wanted / residual),
        prob=1.0,
        rotate_range=(0.12, 0.06, 0.06),
        shear_range=(0.03,) * 6,
        translate_range=(1.0, 1.0, 1.0),
        # positions grow, so brains shrink: the template is larger than people's brains are
        scale_range=((-0.02, 0.14),) * 3,
        padding_mode="border",
    )
    elastic.set_random_state(state=_state(rng))
    warped = torch.as_tensor(elastic(position)).as_subclass(torch.Tensor)
    # Rounding to a thousandth of a mm removes what differs with the number of threads.
    return torch.round(warped * 1000.0) / 1000.0


def _cells(size: int, cell: float) -> int:
    """Number of random values along an axis; one whose zoom factor, in floating point, gives the axis' size back."""
    count = max(3, int(round(size / cell)))
    while int(count * (size / count)) != size:
        count += 1
    return count


def _smooth_field(shape: tuple[int, ...], cell: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth multiplicative field of MONAI around 1, with one random value every ``cell`` voxels."""
    cells = tuple(_cells(n, cell) for n in shape)
    adjust = RandSmoothFieldAdjustIntensity(
        shape, cells, mode="trilinear", align_corners=True, prob=1.0, gamma=(1.0 - spread, 1.0 + spread)
    )
    adjust.set_random_state(state=_state(rng))
    return np.asarray(adjust(torch.ones((1, *shape))))[0]


def _largest(mask: np.ndarray) -> np.ndarray:
    components, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == int(sizes.argmax())


def _crop(phantom: Phantom, mask: np.ndarray, margin: int) -> Phantom:
    """Crop to the brain with some voxels of margin, keeping world coordinates."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(found, mask.shape))
    affine = phantom.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([s.start for s in box])
    whole = (slice(None), *box)
    return Phantom(phantom.image[box], phantom.brain[box], phantom.tissue[whole], phantom.depth[box], affine)


def _atrophy(gm: np.ndarray, csf: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Grey matter after widening of the sulci: cortex next to fluid is lost to it."""
    near = np.clip(2.0 * ndimage.gaussian_filter(csf, 2.0 / spacing), 0.0, 1.0)
    return gm * (1.0 - rng.uniform(0.0, 0.5) * near)


def _intensities(
    tissue: np.ndarray, cap: np.ndarray, depth: np.ndarray, contrast: str, spacing: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise-free intensities (X, Y, Z) from tissue fractions, with texture, deep grey matter and caps."""
    level = {name: rng.normal(mean, sd) for name, (mean, sd) in CONTRASTS[contrast].items()}
    csf, gm, wm = tissue
    shape = csf.shape
    spread = 0.05 if contrast == "ct" else 1.0
    slow = [_smooth_field(shape, 32.0 / spacing, 0.10 * min(1.0, 2 * spread), rng) for _ in range(2)]
    fine = _smooth_field(shape, 7.0 / spacing, 0.13 * min(1.0, 5 * spread), rng)
    # Basal ganglia and thalamus carry more myelin and iron than cortex: they look more like white matter.
    deep = 1.0 / (1.0 + np.exp(-(depth - 26.0) / 3.0))
    mixed = rng.uniform(0.2, 0.6) * deep
    grey = level["gm"] * (1.0 - mixed) + level["wm"] * mixed
    image = csf * level["csf"] + (gm * grey * slow[0] + wm * level["wm"] * slow[1]) * fine
    strength = rng.beta(1.5, 2.5) * _CAP_GAIN[contrast] * level["gm"]
    patchy = np.clip(_smooth_field(shape, 14.0 / spacing, 1.0, rng), 0.0, 2.0)
    return (image + strength * cap * patchy * (1.0 - csf)).astype(np.float32)


def simulate_brain(
    rng: np.random.Generator, contrast: str = "flair", spacing: float = 2.0, oblique: bool = False, margin: int = 4
) -> Phantom:
    """
    Make a random healthy brain without noise and bias field.

    Args:
        rng: source of all randomness.
        contrast: one of ``CONTRASTS``.
        spacing: isotropic voxel size in mm.
        oblique: turn the scan's axes by up to 20 degrees against the world's.
        margin: empty voxels around the brain.

    Returns:
        the scan with its tissue fractions.
    """
    template = load_template(float(spacing))
    rotation = np.eye(3)
    if oblique:
        rotation = _rotation(rng.uniform(-20.0, 20.0, 3))
    points, affine = _grid(template, spacing, rotation)
    start = template.position[:, 0, 0, 0].numpy()
    where = sample_field(_deformed_positions(template, rng), points, start, COARSE_MM)
    gm, wm, _, cap, depth = (m.numpy() for m in sample_field(template.maps, where, template.origin, 1.0))

    # How much rim of fluid skull stripping leaves differs between scans, and a little along the surface.
    rim = rng.uniform(-0.3, 1.6) + 3.0 * (_smooth_field(gm.shape, 40.0 / spacing, 0.3, rng) - 1.0)
    brain = np.clip((depth - rim) / spacing + 0.5, 0.0, 1.0)
    mask = _largest(brain > 0.5)
    gm = _atrophy(gm, np.clip(1.0 - gm - wm, 0.0, 1.0), spacing, rng)
    csf = np.clip(1.0 - gm - wm, 0.0, 1.0)
    tissue = np.stack([csf, gm, wm]) / np.maximum(csf + gm + wm, 1e-6)
    image = np.where(mask, _intensities(tissue, cap, depth, contrast, spacing, rng), 0.0).astype(np.float32)
    return _crop(Phantom(image, np.where(mask, brain, 0.0).astype(np.float32), tissue, depth, affine), mask, margin)


def _rotation(degrees: np.ndarray) -> np.ndarray:
    """Rotation matrix about x, then y, then z."""
    a, b, c = np.deg2rad(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x
