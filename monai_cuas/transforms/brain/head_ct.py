# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The inside of the skull in head CT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.transforms.utils import get_largest_connected_component_mask
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage
from skimage.morphology import isotropic_closing, isotropic_dilation, isotropic_erosion, isotropic_opening

from ...io.orientation import affine_of, from_ras, to_ras

__all__ = ["IntracranialMask", "enclosure"]

# Lengths in mm and fractions below were set by eye on 32 scans of CT-ICH; no lesion mask was looked at.
_AIR_HU = -15.0
_SHELL_HU = 80.0
_BRIDGE_MM = 8.0
_CORE_MM = 5.0
_SMOOTH_MM = 8.0
_REACH_MM = 15.0
_INSIDE = 0.8
_NEARLY_INSIDE = 0.6
_SMALLEST_PART = 0.1
_CORD = 0.12
_MIN_PIXEL_MM = 0.7
_PLAUSIBLE_ML = (250.0, 2500.0)
_HALF_HU = 0.5


def enclosure(shell: np.ndarray, directions: int = 16) -> np.ndarray:
    """
    Fraction of in-plane directions in which a straight line from a voxel meets the shell.

    1 inside a closed ring, about 0.5 beside it; an opening in the ring lowers it only a little.

    Args:
        shell: (X, Y, Z) boolean; axial slices along the last axis, square pixels.
        directions: number of directions, even.

    Returns:
        (X, Y, Z) float32.
    """
    nx, ny, _ = shell.shape
    side = int(np.ceil(np.hypot(nx, ny))) + 2
    centre, middle = (np.array([nx, ny]) - 1) / 2, (side - 1) / 2
    canvas, pixels = np.indices((side, side)) - middle, np.indices((nx, ny)) - centre[:, None, None]
    met = np.zeros(shell.shape, dtype=np.float32)
    for angle in np.pi * np.arange(directions // 2) / (directions // 2):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        x, y = np.rint(np.einsum("ij,jxy->ixy", turn, canvas) + centre[:, None, None]).astype(int)
        valid = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        turned = np.zeros((side, side, shell.shape[2]), dtype=bool)
        turned[valid] = shell[x[valid], y[valid]]
        before = np.logical_or.accumulate(turned, axis=0)
        behind = np.logical_or.accumulate(turned[::-1], axis=0)[::-1]
        x, y = np.rint(np.einsum("ji,jxy->ixy", turn, pixels) + middle).astype(int)
        met += before[x, y].astype(np.uint8) + behind[x, y]
    return met / directions


def _by_slice(function: Callable[[np.ndarray], np.ndarray], mask: np.ndarray) -> np.ndarray:
    return np.stack([function(mask[..., z]) for z in range(mask.shape[2])], axis=-1)


def _close(plane: np.ndarray, radius: float) -> np.ndarray:
    """Closing as if the plane went on: without the border, what touches its edge would not be closed."""
    border = int(np.ceil(radius)) + 1
    return isotropic_closing(np.pad(plane, border), radius)[border:-border, border:-border]


class IntracranialMask(Transform):
    """
    Tissue inside the skull in head CT: brain, its fluid and what has bled into it; no bone, scalp, air or table.

    In each axial slice a voxel is inside if the skull lies in at least 80% of all directions, which holds through
    sutures, the thin bone of infants and openings after surgery. Soft tissue there is eroded by 5 mm, the largest
    component in 3D is taken, which leaves orbits and sinuses behind, and grown back; then gaps are closed and holes
    filled, so that calcifications and fresh blood of any density stay in. Slices at the lower end with less than 12%
    of the largest area are left out: they show the spinal cord.

    Args:
        bone_hu: bone has at least this value, in Hounsfield units; scans that are clipped there are taken too.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, bone_hu: float = 100.0) -> None:
        if bone_hu <= _SHELL_HU:
            raise ValueError(f"bone_hu must be above {_SHELL_HU:g}, got {bone_hu}.")
        self.bone_hu = bone_hu
        self.parameters = {"version": 1, "bone_hu": float(bone_hu)}

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: (1, X, Y, Z) in Hounsfield units, with skull.

        Returns:
            (1, X, Y, Z) uint8 of the input's type, on its grid.

        Raises:
            ValueError: if there is no skull, or no plausible volume inside it.
        """
        affine = affine_of(img)
        hu, spacing = to_ras(np.asarray(convert_data_type(img, np.ndarray)[0][0], dtype=np.float32), affine)
        inside = from_ras(self._inside(hu, spacing), affine)
        mask = inside[None].astype(np.uint8)
        out = convert_to_dst_type(mask, img, dtype=torch.uint8 if isinstance(img, torch.Tensor) else np.uint8)[0]
        if isinstance(out, MetaTensor):
            out.applied_operations = []
        return out

    def _inside(self, hu: np.ndarray, spacing: np.ndarray) -> np.ndarray:
        """Work on the box of the head alone, on about square pixels of no less than 0.7 mm."""
        head = self._head(hu, spacing)
        box = ndimage.find_objects(head.astype(np.uint8))[0]
        step = [max(1, int(1.5 * _MIN_PIXEL_MM / mm)) for mm in spacing[:2]]
        coarse = (slice(None, None, step[0]), slice(None, None, step[1]))
        pixel = spacing[:2] * step
        found = self._intracranial(hu[box][coarse], head[box][coarse], float(np.sqrt(pixel.prod())))
        fine = found.repeat(step[0], axis=0).repeat(step[1], axis=1)[tuple(slice(n) for n in hu[box].shape)]
        out = np.zeros(hu.shape, dtype=bool)
        out[box] = fine
        volume = float(out.sum() * spacing.prod() / 1000)
        if not _PLAUSIBLE_ML[0] < volume < _PLAUSIBLE_ML[1]:
            raise ValueError(f"the tissue found inside the skull, {volume:.0f} ml, is no whole brain")
        return out

    def _head(self, hu: np.ndarray, spacing: np.ndarray) -> np.ndarray:
        """Largest thing that is not air; the opening frees it from the table."""
        solid = hu > _AIR_HU
        bone = hu >= self.bone_hu - _HALF_HU
        if not solid.any() or bone.sum() < 0.01 * solid.sum() or solid.all():
            raise ValueError(
                f"there is hardly any bone (values from {self.bone_hu:g}) or air, so this is no head CT in Hounsfield "
                "units"
            )
        opening = partial(isotropic_opening, radius=2.0, spacing=tuple(spacing[:2]))
        return get_largest_connected_component_mask(_by_slice(opening, solid))

    def _intracranial(self, hu: np.ndarray, head: np.ndarray, pixel: float) -> np.ndarray:
        shell = _by_slice(partial(_close, radius=_BRIDGE_MM / pixel), head & (hu >= _SHELL_HU))
        enclosed = enclosure(shell)
        bone = hu >= self.bone_hu - _HALF_HU
        tissue = (ndimage.median_filter(hu, (3, 3, 1)) > _AIR_HU) & ~bone
        inside = (enclosed >= _INSIDE) & tissue
        core = _by_slice(partial(isotropic_erosion, radius=_CORE_MM / pixel), inside)
        core = get_largest_connected_component_mask(core)
        grown = _by_slice(partial(isotropic_dilation, radius=(_CORE_MM + 1) / pixel), core) & inside
        # Behind an opening of the skull fewer directions meet bone.
        near = _by_slice(partial(isotropic_dilation, radius=_REACH_MM / pixel), grown) & tissue
        near &= enclosed >= _NEARLY_INSIDE
        grown |= _by_slice(partial(isotropic_opening, radius=_CORE_MM / pixel), near)
        closed = _by_slice(partial(_close, radius=_SMOOTH_MM / pixel), grown) & tissue
        return _without_cord(_by_slice(_large_parts, _by_slice(ndimage.binary_fill_holes, closed)))


def _large_parts(plane: np.ndarray) -> np.ndarray:
    labels, n = ndimage.label(plane)
    if n < 2:
        return plane
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= _SMALLEST_PART * sizes.max())[labels]


def _without_cord(mask: np.ndarray) -> np.ndarray:
    """Cut the lower end, slice 0 being the lowest."""
    area = mask.sum(axis=(0, 1))
    small = np.flatnonzero(area[: int(area.argmax())] < _CORD * area.max())
    out = mask.copy()
    if len(small):
        out[..., : small[-1] + 1] = False
    return out
