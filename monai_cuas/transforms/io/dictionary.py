# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Dictionary versions: load, check, brain mask; every error names the file."""

from __future__ import annotations

import logging
import os
import warnings
import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform
from monai.utils import ensure_tuple

from ...io.dicom import DicomSeriesReader, is_series_path, split_series_path
from ...io.nifti import NiftiReader
from ...io.simpleitk import SimpleITKReader
from ...utils import ScanError, add_notes, notes_of
from .array import BrainMask, ValidateScan, check_brain_volume
from .background import without_missing_outside
from .sequences import stack_sequences

__all__ = [
    "BrainMaskd",
    "LoadScand",
    "ValidateScand",
]

logger = logging.getLogger(__name__)

# MONAI's default readers include one that decodes on the GPU, which complains on each machine without its library.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader: nvImageCodec")


def _filename(img: Any) -> str:
    return str(img.meta.get("filename_or_obj", "scan")) if isinstance(img, MetaTensor) else "scan"


def _filenames(img: Any) -> str | list[str]:
    """The files of the channels, which tell how many there must be; one name if the image was not read here."""
    files = img.meta.get("files") if isinstance(img, MetaTensor) else None
    return list(files) if files is not None else _filename(img)


class LoadScand(LoadImaged):
    """
    MONAI's LoadImaged, channel first and float32, with :class:`NiftiReader`, :class:`SimpleITKReader` and
    :class:`DicomSeriesReader` added and errors that a user can read.

    NIfTI, Analyze and MGH go through nibabel, NRRD, MetaImage and pictures (volumes of one slice then) through
    SimpleITK, DICOM series (``FOLDER::SeriesInstanceUID``, or a folder that holds one series) through pydicom. What is
    a tensor already is left as it is. Several files become channels on the grid of the first, see
    :func:`stack_sequences`. Of one file with several channels those are taken that the item names beside it, as in
    ``{"image": "BRATS_001.nii.gz", "image_channels": [0]}``. So stands there, as "image_notes", what is
    doubtful about a scan before it is read.

    Args:
        keys: paths, or lists of paths that become channels.
        allow_missing_keys: skip keys that are absent.
        dicom_accept: irregularities of DICOM series to be accepted, see :class:`DicomSeriesReader`.
    """

    def __init__(
        self, keys: KeysCollection, allow_missing_keys: bool = False, dicom_accept: Collection[str] = ()
    ) -> None:
        super().__init__(keys, ensure_channel_first=True, allow_missing_keys=allow_missing_keys)
        self.register(SimpleITKReader())
        self.register(NiftiReader())
        self.register(DicomSeriesReader(dicom_accept))

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
            d[key] = self._load(files, d.get(f"{key}_channels"))
            add_notes(d[key].meta, d.get(f"{key}_notes") or ())
        return d

    def _load(self, files: list[str], channels: Sequence[int] | None = None) -> MetaTensor:
        _check_files(files)
        images = [self._read(file) for file in files]
        image = stack_sequences(images, files) if len(files) > 1 else images[0]
        if channels is not None:
            image = _choose(image, channels, files[0])
            files = [files[0]] * len(image)
        # The checks on shapes and the messages need to know which files the channels came from.
        image.meta["files"] = files
        notes = [note for i in images for note in notes_of(i.meta)]
        image.meta["notes"] = ""
        add_notes(image.meta, notes)
        image.meta["kind"] = next((i.meta["kind"] for i in images if i.meta.get("kind")), "")
        return image

    def _read(self, file: str) -> MetaTensor:
        try:
            image = self._loader(file)
            # MONAI Label switches the loader to give the metadata a second time.
            image = image[0] if isinstance(image, tuple) else image
        except ScanError:
            raise
        except Exception as error:
            raise _readable(file, error) from error
        if image.meta.get("notes"):
            logger.warning("%s: %s.", file, image.meta["notes"])
        return image


def _on_disk(file: str) -> str:
    return os.path.expanduser(split_series_path(file)[0] if is_series_path(file) else file)


def _choose(image: MetaTensor, channels: Sequence[int], file: str) -> MetaTensor:
    """Some channels of an image, in the order given."""
    wrong = [channel for channel in channels if not 0 <= channel < len(image)]
    if wrong or not len(channels):
        problem = f"there is no channel {wrong[0]} among its {len(image)}" if wrong else "no channel is named"
        raise ScanError(file, problem, "correct image_channels in the data list")
    return MetaTensor(image.as_tensor()[list(channels)], meta=image.meta, applied_operations=[])


def _check_files(files: list[str]) -> None:
    missing = [file for file in files if not os.path.exists(_on_disk(file))]
    if missing:
        problem = "no such file" if len(missing) == 1 else "no such files"
        raise ScanError(", ".join(missing), problem, "check the path" + "s" * (len(missing) > 1))
    for file in files:
        path = _on_disk(file)
        # A named pipe would block for ever.
        if not (os.path.isfile(path) or os.path.isdir(path)):
            raise ScanError(file, "neither a file nor a folder", "give a file")
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise ScanError(file, "the file is empty", "copy or download it again")
        if not os.access(path, os.R_OK):
            raise ScanError(file, "the file may not be read", "check its permissions")


def _readable(file: str, error: Exception) -> ScanError:
    """The sentence for what a reader raised."""
    text = str(error)
    if isinstance(error, (EOFError, zlib.error)) or "Compressed file ended" in text or "CRC check" in text:
        return ScanError(file, "the file is truncated or damaged", "copy or download it again")
    if isinstance(error, OSError) and "Expected" in text and "bytes" in text:
        return ScanError(file, "the file is truncated or damaged", "copy or download it again")
    return ScanError(
        file, "not an image that can be read", "give NIfTI, NRRD, MetaImage or a folder with one DICOM series"
    )


class ValidateScand(MapTransform):
    """
    Dictionary version of :class:`ValidateScan`; also checks that the label lies on the image's grid.

    Args:
        keys: images, as read by :class:`LoadScand`.
        allow_unstripped: see :class:`ValidateScan`.
        label_key: label that must have the image's shape and affine; not checked if absent.
        in_channels: number of sequences that there must be; None: any.
        allow_missing_keys: skip keys that are absent.
        pictures: see :class:`ValidateScan`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        allow_unstripped: bool = False,
        label_key: str | None = None,
        in_channels: int | None = None,
        allow_missing_keys: bool = False,
        pictures: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.validator = ValidateScan(allow_unstripped, in_channels, pictures)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: see :class:`ValidateScan`.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = _with_background(d[key])
            self.validator(d[key], _filenames(d[key]))
            if d[key].meta.get("kind") if isinstance(d[key], MetaTensor) else False:
                raise ScanError(_filename(d[key]), f"it says that it is {d[key].meta['kind']}", "give the scan itself")
            if self.label_key is not None and self.label_key in d:
                _check_label(d[key], d[self.label_key])
        return d


def _with_background(img: Any) -> Any:
    """The image with a number in place of NaN outside of the brain."""
    if not isinstance(img, MetaTensor):
        return img
    filled, count = without_missing_outside(np.asarray(img.as_tensor()))
    if not count:
        return img
    out = MetaTensor(torch.from_numpy(filled), meta=img.meta, applied_operations=img.applied_operations)
    add_notes(out.meta, [f"{count} voxels that are NaN or infinite, outside of the brain, were set to the background"])
    return out


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
        pictures: see :class:`BrainMask`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain_mask",
        allow_missing_keys: bool = False,
        pictures: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.masker = BrainMask(pictures)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            try:
                d[self.mask_key], notes = self.masker.with_notes(d[key])
            except ValueError as error:
                raise ScanError(_filename(d[key]), str(error).rstrip("."), "check how it was skull-stripped") from error
            if not self.masker.pictures:
                notes = (*notes, *check_brain_volume(d[self.mask_key], _filename(d[key])))
            if isinstance(d[key], MetaTensor):
                add_notes(d[key].meta, notes)
        return d
