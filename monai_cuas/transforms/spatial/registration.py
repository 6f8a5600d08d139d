# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Turn a head into the pose of a reference: rigid registration of brain masks by SimpleITK."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, LoadImage, MapTransform, SpatialResample
from monai.utils import GridSampleMode, optional_import

from ...utils import CUASError

nilearn_datasets, has_nilearn = optional_import("nilearn.datasets")

__all__ = ["ICBM152", "AlignPosed", "pose_rotation", "reference_mask"]

ICBM152 = "icbm152"

_GRID_MM = 4.0
_SMOOTHING_MM = 4.0
_MAX_DEGREES = 45.0
_LPS = np.diag([-1.0, -1.0, 1.0])


@lru_cache(maxsize=4)
def reference_mask(reference: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Brain mask whose pose the scans take.

    Args:
        reference: "icbm152", the ICBM-152 brain that nilearn carries, or a file with a brain mask or a skull-stripped
            scan.

    Returns:
        (X, Y, Z) boolean and the affine matrix (4, 4).

    Raises:
        CUASError: if it cannot be had.
    """
    if reference == ICBM152:
        if not has_nilearn:
            raise CUASError("registration to icbm152 needs nilearn; pip install 'monai_cuas[phantom]'.")
        mask = nilearn_datasets.load_mni152_brain_mask(resolution=2)
        return np.asarray(mask.dataobj) > 0, np.asarray(mask.affine, dtype=float)
    if not os.path.isfile(reference):
        raise CUASError(f"{reference}: there is no such reference; give a brain mask or 'icbm152'.")
    image = LoadImage(image_only=True)(reference)
    return np.asarray(image) != 0, np.asarray(image.affine, dtype=float)


def _smooth(mask: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """The mask as a smooth image on a coarse grid about the brain, axes along the world's."""
    image = sitk.GetImageFromArray(mask.astype(np.float32).T)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((_LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((_LPS @ affine[:3, 3]).tolist())
    smooth = sitk.SmoothingRecursiveGaussian(image, _SMOOTHING_MM)
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    points = points @ _LPS
    low, high = points.min(axis=0) - 4 * _GRID_MM, points.max(axis=0) + 4 * _GRID_MM
    size = [int(n) for n in np.ceil((high - low) / _GRID_MM)]
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetSpacing([_GRID_MM] * 3)
    grid.SetOrigin(low.tolist())
    return sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, 0.0)


def pose_rotation(mask: np.ndarray, affine: np.ndarray, reference: str = ICBM152) -> np.ndarray:
    """
    Rotation that brings a brain into the pose of the reference.

    A similarity (rotation, shift, one scale) is fitted to the smoothed masks by least squares; brains differ in size,
    so a strictly rigid fit would turn to make up for it.

    Args:
        mask: (X, Y, Z) boolean.
        affine: voxel to RAS world matrix (4, 4).
        reference: see :func:`reference_mask`.

    Returns:
        (3, 3) in RAS world axes; the identity if the fit fails or asks for more than 45 degrees.
    """
    fixed, moving = _smooth(*reference_mask(reference)), _smooth(mask, affine)
    found = sitk.Similarity3DTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Similarity3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.5, 1e-7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(found, inPlace=True)
    # One thread: sums in another order would give another last digit.
    method.SetNumberOfThreads(1)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:
        return np.eye(3)
    # ITK's transform goes from the fixed image's world to the moving one's.
    rotation = _LPS @ (np.array(found.GetMatrix()).reshape(3, 3) / found.GetScale()) @ _LPS
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return np.eye(3) if angle > _MAX_DEGREES else rotation.T


class AlignPosed(MapTransform, InvertibleTransform):
    """
    Resample a scan, at its own voxel size, to axes that run as those of a reference brain do.

    Only the direction changes: where the brain lies is the business of the crop that follows. Put it behind
    ``Orientationd``. The inverse is that of :class:`monai.transforms.SpatialResample`.

    Args:
        keys: images on one grid.
        mask_key: brain mask on that grid, by which the pose is found; list it last among the keys.
        reference: see :func:`reference_mask`.
        mode: "bilinear" or "nearest", for each key.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str,
        reference: str = ICBM152,
        mode: Any = GridSampleMode.BILINEAR,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key, self.reference = mask_key, reference
        self.mode = [mode] * len(self.keys) if isinstance(mode, str) else list(mode)
        self.resample = SpatialResample(padding_mode="zeros", dtype=np.float64)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        mask: MetaTensor = d[self.mask_key]
        affine = np.asarray(mask.affine, dtype=float)
        target, size = self._grid(np.asarray(mask[0]) > 0, affine)
        for key, mode in self.key_iterator(d, self.mode):
            dtype = d[key].dtype
            out = self.resample(d[key], dst_affine=torch.from_numpy(target), spatial_size=size, mode=mode)
            d[key] = out.to(dtype) if mode == "nearest" else out.to(torch.float32)
        return d

    def _grid(self, mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Affine matrix and size of the turned grid that holds the brain."""
        rotation = pose_rotation(mask, affine, self.reference)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        axes = rotation.T * spacing
        inverse = np.linalg.inv(axes)
        points = (np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]) @ inverse.T
        low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 1
        target = np.eye(4)
        target[:3, :3], target[:3, 3] = axes, axes @ low
        return target, [int(n) + 1 for n in high - low]

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.resample.inverse(d[key])
        return d
