# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The ways to a brain mask, by name."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from ...utils import BRAIN_MASK_SUFFIX, ScanError, add_notes, brain_mask_beside
from ..io import BrainMaskd, LoadScand, check_brain_volume, same_grid, skull_in_view, unstripped_error
from . import hd_bet
from .cache import CachedMask
from .hd_bet import HDBETMask
from .head_ct import IntracranialMask

__all__ = [
    "BRAIN_MASK_FILE",
    "EXTRACTIONS",
    "AutoBrainMaskd",
    "BrainExtractiond",
    "GivenBrainMaskd",
    "brain_mask_step",
]

BRAIN_MASK_FILE = "brain_mask_file"
"""Key of a data list's entry that names the brain mask."""

_MASKERS: dict[str, type] = {"hd-bet": HDBETMask, "head-ct": IntracranialMask}

EXTRACTIONS = ("none", "given", "auto", *_MASKERS)
"""Values of the option ``brain_extraction``."""

_AIR_HU, _BONE_HU = -500.0, 300.0
_MIN_CUT_OFF = 0.05
_REMEDY = "check the scan and the choice of brain_extraction, or supply a mask with brain_extraction 'given'"


def brain_mask_step(
    extraction: str, key: str, cache_dir: str | os.PathLike | None = None, pictures: bool = False
) -> MapTransform:
    """
    The step of the preprocessing that writes "brain_mask".

    Args:
        extraction: "none" (foreground of a skull-stripped scan), "given" (a file that goes with the scan), "hd-bet"
            (MR with skull), "head-ct" (CT with skull), or "auto" (see :class:`AutoBrainMaskd`).
        key: the image.
        cache_dir: folder where masks are kept that take long to find; None: they are found each time.
        pictures: see :class:`BrainMask`.

    Raises:
        ValueError: for another name.
    """
    if extraction == "none":
        return BrainMaskd(key, pictures=pictures)
    if extraction == "given":
        return GivenBrainMaskd(key)
    if extraction == "auto":
        return AutoBrainMaskd(key, cache_dir)
    if extraction not in _MASKERS:
        raise ValueError(f"brain_extraction must be one of {', '.join(EXTRACTIONS)}, got {extraction!r}.")
    return _extraction(extraction, key, cache_dir)


def _extraction(name: str, keys: KeysCollection, cache_dir: str | os.PathLike | None) -> BrainExtractiond:
    masker = _MASKERS[name]()
    return BrainExtractiond(keys, masker if cache_dir is None else CachedMask(masker, cache_dir))


def _file(img: Any) -> str:
    return str(img.meta.get("filename_or_obj", "scan")) if isinstance(img, MetaTensor) else "scan"


class BrainExtractiond(MapTransform):
    """
    Write the brain mask of ``keys[0]``, on the grid that it has now; the first channel is looked at.

    Args:
        keys: the image, (C, X, Y, Z).
        masker: array transform from (1, X, Y, Z) to a mask (1, X, Y, Z); raises a ValueError if it finds none.
        mask_key: where the mask goes, (1, X, Y, Z) uint8.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, masker: Any, mask_key: str = "brain_mask", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.masker, self.mask_key = masker, mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: if there is no brain to be found.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            try:
                d[self.mask_key] = self.masker(d[key][:1])
            except ScanError:
                raise
            except ValueError as error:
                raise ScanError(_file(d[key]), str(error).rstrip("."), _REMEDY) from error
        return d


class AutoBrainMaskd(MapTransform):
    """
    Write the brain mask of ``keys[0]``: the foreground if the scan is skull-stripped, or else the brain is extracted.

    A scan with skull that has values of air and bone in Hounsfield units, or bone that a window has cut off, is taken
    for CT, any other for MR, of which HD-BET finds the brain if it is installed. The scan's notes say what was done.

    Args:
        keys: the image, (C, X, Y, Z); the first channel is looked at.
        cache_dir: as for :func:`brain_mask_step`.
        mask_key: where the mask goes, (1, X, Y, Z) uint8.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        cache_dir: str | os.PathLike | None = None,
        mask_key: str = "brain_mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.stripped = BrainMaskd(keys, mask_key, allow_missing_keys)
        self.extractions = {name: _extraction(name, keys, cache_dir) for name in _MASKERS}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: if there is no brain to be found, or HD-BET is needed and not there.
        """
        for key in self.key_iterator(dict(data)):
            why = skull_in_view(data[key])
            if not why:
                break
            name = "head-ct" if _is_ct(data[key]) else "hd-bet"
            if name == "hd-bet" and not hd_bet.has_hd_bet:
                remedy = "pip install 'monai_cuas[bet]', and the brain is found without further ado, or "
                raise unstripped_error(_file(data[key]), why, remedy)
            found = self.extractions[name](data)
            if isinstance(found[key], MetaTensor):
                add_notes(found[key].meta, [f"not skull-stripped, as {why}, so its brain was found by {name}"])
            return found
        return self.stripped(data)


def _is_ct(image: NdarrayOrTensor) -> bool:
    """Whether the first channel has values of air and of bone, or bone that a window has cut off."""
    channel = np.asarray(image[0])
    low, high = float(channel.min()), float(channel.max())
    if low <= _AIR_HU and high >= _BONE_HU:
        return True
    inside = channel > low
    return low < 0 and bool(inside.any()) and float((channel[inside] == high).mean()) > _MIN_CUT_OFF


class GivenBrainMaskd(MapTransform):
    """
    Read the brain mask that goes with ``keys[0]``: the file that the item names, or else the one beside it.

    Args:
        keys: the image, (C, X, Y, Z), as read by :class:`LoadScand`.
        mask_key: where the mask goes, (1, X, Y, Z) uint8.
        file_key: key of the mask's path; without it, the mask is ``X_brain_mask.nii.gz`` beside ``X.nii.gz``.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain_mask",
        file_key: str = BRAIN_MASK_FILE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key, self.file_key = mask_key, file_key
        self.load = LoadScand(mask_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ScanError: if there is no mask, or not one on the image's grid.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            image, scan = d[key], _file(d[key])
            given = d.get(self.file_key) or brain_mask_beside(scan)
            if given is None:
                problem = f"there is no brain mask for it, neither as '{self.file_key}' in the data list nor beside it"
                raise ScanError(scan, problem, f"name the mask like the scan with {BRAIN_MASK_SUFFIX} at the end")
            path = os.fspath(ensure_tuple(given)[0])
            mask = self.load({self.mask_key: path})[self.mask_key]
            if len(mask) != 1 or not same_grid(image, mask):
                raise ScanError(
                    path, f"the brain mask is not on the grid of {scan}", "resample it with nearest neighbours"
                )
            inside = np.asarray(mask) > 0.5
            if not inside.any() or inside.all():
                raise ScanError(path, "the brain mask is empty or covers all", "check how it was exported")
            d[self.mask_key] = MetaTensor(
                torch.from_numpy(inside.astype(np.uint8)), meta=dict(image.meta), applied_operations=[]
            )
            add_notes(image.meta, check_brain_volume(d[self.mask_key], path))
        return d
