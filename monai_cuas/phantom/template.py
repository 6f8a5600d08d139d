# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The ICBM-152 tissue maps that nilearn carries, prepared once per voxel size as the phantom's template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from monai.utils import optional_import
from scipy import ndimage

from ..utils import CUASError

nilearn_datasets, has_nilearn = optional_import("nilearn.datasets")

__all__ = ["COARSE_MM", "Template", "load_template", "sample_field"]

# Deformations are smooth, so they live on a coarse grid; the head may move by less than the margin.
COARSE_MM = 4.0
MARGIN_MM = 24.0


@dataclass(frozen=True)
class Template:
    """Template maps on a 1 mm grid and the ventricle expansion field on a coarse grid, all axes RAS.

    Attributes:
        maps: (5, X, Y, Z) float32: grey matter and white matter fractions in [0, 1], cerebrospinal fluid fraction in
            [0, 1], cap weight in [0, 1] (closeness to the horns of the lateral ventricles), depth below the brain's
            surface in mm (negative outside).
        origin: world coordinates in mm of voxel (0, 0, 0) of ``maps``.
        position: (3, x, y, z) float32, world coordinates in mm of each voxel of the coarse grid.
        expansion: (3, x, y, z) float32, unit displacement away from the lateral ventricles, fading with distance.
    """

    maps: torch.Tensor
    origin: np.ndarray
    position: torch.Tensor
    expansion: torch.Tensor

    @property
    def extent(self) -> np.ndarray:
        """Edge lengths of the template's box in mm, shape (3,)."""
        return np.array(self.maps.shape[1:], dtype=float)


def sample_field(field: torch.Tensor, points: torch.Tensor, origin: np.ndarray, step: float) -> torch.Tensor:
    """
    Sample a regular field at world points (linear, clamped at the border).

    Args:
        field: (C, X, Y, Z) float32.
        points: (3, x, y, z) float32, world coordinates in mm.
        origin: world coordinates in mm of voxel (0, 0, 0) of ``field``.
        step: voxel size of ``field`` in mm.

    Returns:
        (C, x, y, z) float32.
    """
    size = torch.tensor(field.shape[1:], dtype=torch.float32).view(3, 1, 1, 1)
    start = torch.as_tensor(origin, dtype=torch.float32).view(3, 1, 1, 1)
    grid = (2.0 * (points - start) / step / (size - 1) - 1.0).flip(0).permute(1, 2, 3, 0)
    out = torch.nn.functional.grid_sample(field[None], grid[None], padding_mode="border", align_corners=True)
    return out[0]


def _raw_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grey matter, white matter, brain mask (1 mm, cropped to the brain with 4 voxels of margin) and the origin."""
    if not has_nilearn:
        raise CUASError("The phantom cohort needs the maps of nilearn: pip install monai_cuas[phantom].")
    images = [
        nilearn_datasets.load_mni152_gm_template(resolution=1),
        nilearn_datasets.load_mni152_wm_template(resolution=1),
        nilearn_datasets.load_mni152_brain_mask(resolution=1),
    ]
    gm, wm, mask = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    box = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in ndimage.find_objects((mask > 0.5).astype(np.uint8))[0])
    origin = images[0].affine[:3, 3] + np.array([s.start for s in box])
    return gm[box], wm[box], mask[box] > 0.5, origin


def _lateral_ventricles(csf: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Largest deep component of the fluid: the lateral and third ventricles."""
    components, _ = ndimage.label((csf > 0.5) & (depth > 12.0))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    seeds = [int(np.argsort(sizes)[-1]), int(np.argsort(sizes)[-2])]
    # In the template the septum splits fluid into a front and a back part of similar size; both are ventricle.
    keep = seeds if sizes[seeds[1]] > 0.5 * sizes[seeds[0]] else seeds[:1]
    return np.isin(components, keep)


def _signed_distance(region: np.ndarray) -> np.ndarray:
    """Distance in mm (1 mm voxels), positive inside the region."""
    inside = ndimage.distance_transform_edt(region)
    outside = ndimage.distance_transform_edt(~region)
    return (inside - outside).astype(np.float32)


def _expansion(outside_ventricle: np.ndarray) -> np.ndarray:
    """Displacement away from the ventricles, of length 1 at their wall and fading over some 15 mm."""
    smooth = ndimage.gaussian_filter(outside_ventricle, 2.0)
    direction = np.stack(np.gradient(smooth))
    fade = np.exp(-np.clip(outside_ventricle, 0.0, None) / 15.0)
    return (direction * fade).astype(np.float32)


@lru_cache(maxsize=2)
def load_template(spacing: float) -> Template:
    """
    Load and prepare the template for scans of a voxel size.

    Args:
        spacing: voxel size in mm of the scans to be made; the maps are smoothed to it, so that sampling them gives
            partial volume rather than aliasing.

    Raises:
        CUASError: if nilearn is not installed.
    """
    gm, wm, mask, origin = _raw_maps()
    gm, wm = gm * mask, wm * mask
    csf = np.clip(mask - gm - wm, 0.0, 1.0)
    depth = _signed_distance(mask)
    ventricle = _lateral_ventricles(csf, depth)
    away = -_signed_distance(ventricle)
    along = np.arange(gm.shape[1], dtype=np.float32)
    centre = float(np.mean(np.nonzero(ventricle)[1]))
    horns = np.clip(np.abs(along - centre) / 30.0, 0.15, 1.0)[None, :, None]
    cap = np.exp(-np.clip(away, 0.0, None) / 4.0) * horns
    maps = np.stack([gm, wm, csf, cap.astype(np.float32), depth])
    sigma = 0.35 * spacing
    maps[:4] = [ndimage.gaussian_filter(m, sigma) for m in maps[:4]]

    axes = [np.arange(-MARGIN_MM, n + MARGIN_MM, COARSE_MM) + o for n, o in zip(gm.shape, origin)]
    position = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32))
    expansion = sample_field(torch.from_numpy(_expansion(away)), position, origin, 1.0)
    return Template(torch.from_numpy(np.ascontiguousarray(maps)), origin, position, expansion)
