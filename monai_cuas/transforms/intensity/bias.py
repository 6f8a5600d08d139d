# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Correction of the smooth shading that MR coils leave: N4 by SimpleITK."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type

from ...utils import ScanError
from ..cache import ContentCache

__all__ = ["N4BiasCorrection", "N4BiasCorrectiond"]

_MAX_NOT_POSITIVE = 0.05


class N4BiasCorrection(Transform):
    """
    Divide each channel by the smooth multiplicative field that N4 finds inside the mask.

    The field is found on a coarser grid and interpolated to the full one (Tustison et al., "N4ITK: improved N3 bias
    correction", IEEE TMI 29(6), 2010).

    Args:
        spacing_mm: voxel size of the coarse grid, about; every axis keeps at least a third of its voxels if it has
            few, as with thick slices.
        iterations: at most so many for each level of the spline, from coarse to fine.
        cache_dir: folder where coarse fields are kept; None: they are found each time.

    Raises:
        ValueError: if an argument makes no sense.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        spacing_mm: float = 4.0,
        iterations: Sequence[int] = (50, 50, 50, 50),
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        if spacing_mm <= 0:
            raise ValueError(f"spacing_mm must be positive, got {spacing_mm}.")
        if not len(iterations) or min(iterations) < 1:
            raise ValueError(f"iterations must be positive numbers, one for each level, got {iterations}.")
        self.spacing_mm, self.iterations = float(spacing_mm), [int(n) for n in iterations]
        self.cache = None if cache_dir is None else ContentCache(cache_dir)

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> NdarrayOrTensor:  # type: ignore[override]
        """
        Args:
            img: (C, X, Y, Z), positive inside the mask.
            mask: (1, X, Y, Z) brain mask.

        Returns:
            (C, X, Y, Z) float32 of the input's type; outside the mask divided by the field as well.

        Raises:
            ValueError: if more than 5% of the masked voxels are not positive.
        """
        image = np.asarray(convert_data_type(img, np.ndarray)[0], dtype=np.float32)
        inside = np.asarray(convert_data_type(mask, np.ndarray)[0][0]) > 0
        spacing = img.pixdim.tolist() if isinstance(img, MetaTensor) else [1.0, 1.0, 1.0]
        out = np.stack([channel / np.exp(self.log_field(channel, inside, spacing)) for channel in image])
        return convert_to_dst_type(out, img, dtype=torch.float32 if isinstance(img, torch.Tensor) else np.float32)[0]

    def log_field(self, channel: np.ndarray, inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """
        Logarithm of the field.

        Args:
            channel: (X, Y, Z) float32.
            inside: (X, Y, Z) boolean.
            spacing: of the three axes, in mm.

        Returns:
            (X, Y, Z) float32.
        """
        positive = inside & (channel > 0)
        if positive.sum() < (1 - _MAX_NOT_POSITIVE) * inside.sum() or not inside.any():
            raise ValueError("bias correction needs positive intensities in the brain")
        image, mask = (_to_sitk(array, spacing) for array in (channel, positive.astype(np.uint8)))
        shrink = [self._shrink(n, mm) for n, mm in zip(channel.shape, spacing)]
        coarse = sitk.Shrink(image, shrink)

        def find() -> np.ndarray:
            return self._fit(coarse, sitk.Shrink(mask, shrink))

        if self.cache is None:
            values = find()
        else:
            settings = ["N4", 1, self.spacing_mm, self.iterations, [round(float(mm), 4) for mm in spacing]]
            values = self.cache.get(settings, [channel, positive], find, coarse.GetSize()[::-1])
        field = sitk.GetImageFromArray(values)
        field.CopyInformation(coarse)
        resample = sitk.ResampleImageFilter()
        resample.SetReferenceImage(image)
        resample.SetInterpolator(sitk.sitkLinear)
        # Voxels beyond the centres of the outermost coarse ones.
        resample.UseNearestNeighborExtrapolatorOn()
        return np.ascontiguousarray(sitk.GetArrayFromImage(resample.Execute(field)).T, dtype=np.float32)

    def _fit(self, image: sitk.Image, mask: sitk.Image) -> np.ndarray:
        """Log field on the coarse grid, in SimpleITK's order of axes."""
        method = sitk.N4BiasFieldCorrectionImageFilter()
        method.SetMaximumNumberOfIterations(self.iterations)
        # One thread: sums in another order would give another last digit.
        method.SetNumberOfThreads(1)
        method.Execute(image, mask)
        return sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(image)).astype(np.float32)

    def _shrink(self, n: int, mm: float) -> int:
        return max(1, min(round(self.spacing_mm / mm), n // 12))


def _to_sitk(array: np.ndarray, spacing: Sequence[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing([float(mm) for mm in spacing])
    return image


class N4BiasCorrectiond(MapTransform):
    """
    Dictionary version of :class:`N4BiasCorrection`.

    Args:
        keys: images.
        mask_key: brain mask, (1, X, Y, Z), on the images' grid.
        spacing_mm: see :class:`N4BiasCorrection`.
        iterations: see :class:`N4BiasCorrection`.
        cache_dir: see :class:`N4BiasCorrection`.
        allow_missing_keys: skip keys that are absent.
    """

    backend = N4BiasCorrection.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain_mask",
        spacing_mm: float = 4.0,
        iterations: Sequence[int] = (50, 50, 50, 50),
        cache_dir: str | os.PathLike | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.corrector = N4BiasCorrection(spacing_mm, iterations, cache_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: for a scan that is not positive, such as CT or an image that was standardised before.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            try:
                d[key] = self.corrector(d[key], d[self.mask_key])
            except ValueError as error:
                file = d[key].meta.get("filename_or_obj", "scan") if isinstance(d[key], MetaTensor) else "scan"
                raise ScanError(file, str(error).rstrip("."), "set bias_correction to false") from error
        return d
