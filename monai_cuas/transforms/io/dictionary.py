# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions: load, check, brain mask; every error names the file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform
from monai.utils import ensure_tuple

from ...utils import ScanError
from .array import BrainMask, ValidateScan
from .reader import SimpleITKReader

__all__ = [
    "BrainMaskD",
    "BrainMaskDict",
    "BrainMaskd",
    "LoadScanD",
    "LoadScanDict",
    "LoadScand",
    "ValidateScanD",
    "ValidateScanDict",
    "ValidateScand",
]


def _filename(img: Any) -> str:
    return str(img.meta.get("filename_or_obj", "scan")) if isinstance(img, MetaTensor) else "scan"


class LoadScand(LoadImaged):
    """
    MONAI's LoadImaged, channel first and float32, with :class:`SimpleITKReader` added and errors that a user can read.

    NIfTI goes through nibabel; NRRD, MetaImage and folders with a DICOM series through SimpleITK. What is a tensor
    already is left as it is.

    Args:
        keys: paths, or lists of paths that become channels.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ensure_channel_first=True, allow_missing_keys=allow_missing_keys)
        self.register(SimpleITKReader())

    def __call__(self, data: Any, reader: Any = None) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: if a file is missing, damaged or not an image.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            if isinstance(d[key], (torch.Tensor, np.ndarray)):
                continue
            files = [os.fspath(f) for f in ensure_tuple(d[key])]
            d[key] = self._load(files)
        return d

    def _load(self, files: list[str]) -> MetaTensor:
        for file in files:
            _check_file(file)
        try:
            image = self._loader(files)
        except ScanError:
            raise
        except Exception as error:
            raise _readable(files, error) from error
        # How many files the channels came from: the check on shapes needs it.
        image.meta["n_files"] = len(files)
        return image


def _check_file(file: str) -> None:
    path = os.path.expanduser(file)
    if not os.path.exists(path):
        raise ScanError(file, "no such file", "check the path")
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise ScanError(file, "the file is empty", "copy or download it again")
    if not os.access(path, os.R_OK):
        raise ScanError(file, "the file may not be read", "check its permissions")


def _readable(files: list[str], error: Exception) -> ScanError:
    """The sentence for what a reader raised."""
    text = str(error)
    name = files[0] if len(files) == 1 else ", ".join(files)
    if (
        "affine matrix of all images" in text
        or "spatial_shape of all images" in text
        or "must have the same shape" in text
    ):
        return ScanError(name, "the channels are not on one grid", "register and resample them to the first")
    if isinstance(error, (EOFError, zlib.error)) or "Compressed file ended" in text or "CRC check" in text:
        return ScanError(name, "the file is truncated or damaged", "copy or download it again")
    if isinstance(error, OSError) and "Expected" in text and "bytes" in text:
        return ScanError(name, "the file is truncated or damaged", "copy or download it again")
    return ScanError(
        name, "not an image that can be read", "give NIfTI, NRRD, MetaImage or a folder with one DICOM series"
    )


class ValidateScand(MapTransform):
    """
    Dictionary version of :class:`ValidateScan`; also checks that the label lies on the image's grid.

    Args:
        keys: images, as read by :class:`LoadScand`.
        allow_unstripped: see :class:`ValidateScan`.
        label_key: label that must have the image's shape and affine; not checked if absent.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        allow_unstripped: bool = False,
        label_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.validator = ValidateScan(allow_unstripped)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: see :class:`ValidateScan`.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            n_files = d[key].meta.get("n_files") if isinstance(d[key], MetaTensor) else None
            d[key] = self.validator(d[key], _filename(d[key]), n_files)
            if self.label_key is not None and self.label_key in d:
                _check_label(d[key], d[self.label_key])
        return d


def _check_label(image: MetaTensor, label: MetaTensor) -> None:
    same = tuple(label.shape) == (1, *image.shape[1:])
    if same and isinstance(image, MetaTensor) and isinstance(label, MetaTensor):
        same = bool(torch.allclose(image.affine.double(), label.affine.double(), atol=1e-2))
    if not same:
        problem = f"the label is not on the grid of {_filename(image)}"
        raise ScanError(
            _filename(label), problem, "resample the label to the scan with nearest-neighbour interpolation"
        )


class BrainMaskd(MapTransform):
    """
    Dictionary version of :class:`BrainMask`: writes the mask of ``keys[0]``, on the grid that it has now.

    Args:
        keys: the image.
        mask_key: where the mask goes, (1, X, Y, Z) uint8.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "brain_mask", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.masker = BrainMask()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.mask_key] = self.masker(d[key])
        return d


LoadScanD = LoadScanDict = LoadScand
ValidateScanD = ValidateScanDict = ValidateScand
BrainMaskD = BrainMaskDict = BrainMaskd
