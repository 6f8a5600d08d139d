# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Training slices on disk, so that memory does not grow with the cohort."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
from monai.data import Dataset, MetaTensor, PersistentDataset
from monai.data.utils import json_hashing
from monai.transforms import Compose, Transform
from monai.utils import ensure_tuple

from ..io.content import content_of
from ..transforms import BRAIN_MASK_FILE, AnomalyPreprocessing
from ..utils import CUASError, file_digest, user_message
from ..utils.disk_cache import DEFAULT_LIMIT_GB, mark_cache, shrink_cache, used
from ..utils.progress import track
from .robust import note_failure
from .seeded import SeededTransform

__all__ = ["SliceDataset", "image_middle"]

logger = logging.getLogger(__name__)


# of a cache's item, beside the paths: what is in its files, and of an image with channels which is read
_CONTENT = "content"


def _hash_parameters(transforms: Sequence[Any]) -> bytes:
    """Hash of the transform's arguments, which unlike its pickle is the same in each run."""
    return json_hashing([monai.__version__, [t.parameters for t in transforms]])


def image_middle(image: torch.Tensor, native: torch.Tensor) -> int:
    """
    The slice behind the middle of the scan as it is stored, on the network's grid, which ends where the brain does.

    Args:
        image: preprocessed volume, (C, S, S, Z), with its affine.
        native: anything on the scan's own grid, (1, X, Y, Z), with its affine.

    Returns:
        Index along the last axis, which may lie outside; half of Z where an affine is unknown.
    """
    if not (isinstance(image, MetaTensor) and isinstance(native, MetaTensor)):
        return image.shape[-1] // 2
    centre = torch.tensor([*((n - 1) / 2 for n in native.shape[1:]), 1.0], dtype=torch.float64)
    here = torch.linalg.solve(image.affine.double().cpu(), native.affine.double().cpu() @ centre)
    # between the slices n/2 - 1 and n/2 it is the latter
    return math.floor(float(here[2]) + 0.5 + 1e-3)


class _Volume(Transform):
    """
    Preprocess a scan and keep what slices need, in half precision (steps of 0.0005 near 1, at half the disk).

    The preprocessing is inside, as PersistentDataset takes a nested Compose for a random transform and caches nothing.
    """

    def __init__(self, preprocessing: Compose, image_key: str, label_key: str) -> None:
        self.preprocessing, self.image_key, self.label_key = preprocessing, image_key, label_key
        described = getattr(preprocessing, "parameters", None)
        if described is None:
            described = hashlib.sha256(pickle.dumps(preprocessing.transforms)).hexdigest()
        self.parameters = {"version": 2, "image": image_key, "label": label_key, "preprocessing": described}
        reference = described.get("registration") if isinstance(described, Mapping) else None
        if reference is not None and os.path.isfile(reference):
            self.parameters["reference"] = file_digest(reference)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        data = self.preprocessing({k: v for k, v in item.items() if k != _CONTENT})
        mask = data["slice_mask"] > 0
        out = {
            "image": _plain(data[self.image_key]).to(torch.float16),
            "brain_mask": _plain(mask).to(torch.uint8),
            "area": _plain(mask).sum(dim=(0, 1, 2)).to(torch.int64),
        }
        lesion = torch.zeros_like(out["area"])
        if self.label_key in data:
            lesion = (_plain(data[self.label_key]) > 0).sum(dim=(0, 1, 2)).to(torch.int64)
        out["lesion"] = lesion
        out["image_middle"] = torch.tensor(image_middle(data[self.image_key], data["brain_mask"]))
        return out


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Without metadata."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _cached(dataset: PersistentDataset, item: Any) -> dict[str, torch.Tensor]:
    """The cached item; a file that an interrupted run left half-written is made again."""
    path = Path(dataset.cache_dir or "", dataset.hash_func(item).decode() + dataset.transform_hash + ".pt")
    there = path.is_file()
    try:
        made = dataset._cachecheck(item)
    except (RuntimeError, EOFError, FileNotFoundError) as error:
        # another process may have removed it, as the longest unused, since it was looked for
        gone = there and not path.exists()
        if user_message(error) is not None or not (gone or path.is_file()):
            raise
        path.unlink(missing_ok=True)
        made = dataset._cachecheck(item)
    used(path)
    return made


class _Profile(Transform):
    """Brain and lesion area of each slice, read from the cached volume."""

    def __init__(self, volumes: PersistentDataset) -> None:
        self.volumes = volumes

    def __call__(self, key: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        volume = _cached(self.volumes, self.volumes.data[key["scan"]])
        return {name: volume[name] for name in ("area", "lesion", "image_middle")}


class _Slice(Transform):
    """One slice of a cached volume; keeps the last volume, as the first pass takes slices in order."""

    def __init__(self, volumes: PersistentDataset) -> None:
        self.volumes = volumes
        self._last: tuple[int, dict[str, torch.Tensor]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def __call__(self, key: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        scan, z = key["scan"], key["slice"]
        if self._last is None or self._last[0] != scan:
            self._last = (scan, _cached(self.volumes, self.volumes.data[scan]))
        volume = self._last[1]
        # A clone: saving a view would save the whole volume.
        return {"image": volume["image"][..., z].clone(), "brain_mask": volume["brain_mask"][..., z].clone()}

    def forget(self) -> None:
        """Free the volume."""
        self._last = None


class SliceDataset(Dataset):
    """
    Axial slices of the training scans, each a file in a cache folder (MONAI's PersistentDataset).

    Scans are preprocessed once and kept as volumes; eligible slices are kept one by one. The caches' keys hold the
    arguments of the transform and the content of each file: neither a changed config nor a file that is written anew
    gives stale slices, and files may move. What was longest unused is removed where the cache is over its limit; what
    a training uses stays. Scans that cannot be used are left out and listed in ``failed``.

    Items: {"image": (C, S, S) float32 quantile coordinates, "brain_mask": (1, S, S) uint8, "subject": str}, or what
    ``augmentation`` makes of them; its draws depend on seed, epoch and slice alone (:class:`SeededTransform`).

    Args:
        data: datalist; "image" is a path or a list of paths; "image_channels", "label" and "subject" are optional.
        transform: preprocessing with mask and label on the network's grid (``AnomalyPreprocessing(...).for_slices()``).
        cache_dir: folder of the cache, made if absent.
        min_brain_fraction: a slice is eligible if its brain area is at least this fraction of the scan's largest.
        middle_slices: N: only the N slices around the middle (10 in the paper); None: all.
        middle_of: "brain", the middle of its axial extent, or "image", as in the authors' code.
        cache_limit_gb: how large the cache may become, in units of 10**9 bytes.
        image_key: key of the image.
        label_key: key of the label; slices that it touches are left out.
        progress: show a progress bar.
        augmentation: random transform of each item; None: none.
        seed: of its draws.
        donor_key: key under which it finds the image of another slice, drawn at random; None: none.

    Raises:
        CUASError: if no slice is left.
        ValueError: if an argument makes no sense.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Compose,
        cache_dir: str | os.PathLike,
        min_brain_fraction: float = 0.3,
        middle_slices: int | None = None,
        image_key: str = "image",
        label_key: str = "label",
        progress: bool = True,
        augmentation: Callable | None = None,
        seed: int = 0,
        donor_key: str | None = None,
        middle_of: str = "brain",
        cache_limit_gb: float = DEFAULT_LIMIT_GB,
    ) -> None:
        if middle_of not in ("brain", "image"):
            raise ValueError(f"middle_of must be brain or image, got {middle_of}.")
        if not 0 <= min_brain_fraction <= 1:
            raise ValueError(f"min_brain_fraction must be between 0 and 1, got {min_brain_fraction}.")
        if middle_slices is not None and middle_slices < 1:
            raise ValueError(f"middle_slices must be at least 1 or null, got {middle_slices}.")
        if cache_limit_gb < 0:
            raise ValueError(f"cache_limit_gb must be at least 0, got {cache_limit_gb}.")
        if not data:
            raise CUASError("the list of training scans is empty; check the dataset's folder and the name of the list.")
        if not getattr(transform, "parameters", {"slice_mask": True})["slice_mask"]:
            raise ValueError("the transform must give slice_mask: use AnomalyPreprocessing(...).for_slices().")
        super().__init__(list(data), transform)
        self.transform: Compose = transform
        self.min_brain_fraction, self.middle_slices, self.middle_of = min_brain_fraction, middle_slices, middle_of
        self.failed: list[tuple[str, str]] = []
        self._image_key = image_key
        self._open_caches(Path(cache_dir), label_key)
        self.index = self._first_pass(progress)
        shrink_cache(cache_dir, cache_limit_gb)
        if not self.index:
            why = f"; the first: {self.failed[0][1]}" if self.failed else ""
            raise CUASError(f"no training slice is left of {len(self.data)} scans{why}")
        self._draws = SeededTransform(augmentation, seed, donor_key)

    def _open_caches(self, cache_dir: Path, label_key: str) -> None:
        items = []
        for entry in self.data:
            inputs = self._inputs(entry, label_key)
            keys = [k for k in (self._image_key, label_key, BRAIN_MASK_FILE) if k in inputs]
            paths = {k: [os.fspath(p) for p in ensure_tuple(inputs[k])] for k in keys}
            content = [[k, content_of(inputs[k])] for k in keys]
            channels = inputs.get(f"{self._image_key}_channels")
            items.append({**inputs, **paths, _CONTENT: [*content, channels]})
        volume = _Volume(self.transform, self._image_key, label_key)
        try:
            mark_cache(cache_dir)
            self._volumes = PersistentDataset(
                items, volume, cache_dir / "volumes", hash_func=_volume_key, hash_transform=_hash_parameters
            )
            self._keys = [json_hashing([item[_CONTENT], self._volumes.transform_hash]).decode() for item in items]
            self._profiles = PersistentDataset(
                [], _Profile(self._volumes), cache_dir / "profiles", hash_func=_cache_key
            )
            self._slicer = _Slice(self._volumes)
            self._slices = PersistentDataset([], self._slicer, cache_dir / "slices", hash_func=_cache_key)
        except OSError as error:
            raise CUASError(f"{cache_dir}: the cache folder cannot be written; choose another cache_dir.") from error

    def _inputs(self, entry: Mapping[str, Any], label_key: str) -> dict[str, Any]:
        """What of an entry the preprocessing reads."""
        label = {label_key: entry[label_key]} if label_key in entry else {}
        if isinstance(self.transform, AnomalyPreprocessing):
            return {**self.transform.inputs(entry), **label}
        return {**{k: entry[k] for k in (self._image_key, f"{self._image_key}_channels") if k in entry}, **label}

    def _first_pass(self, progress: bool) -> list[tuple[int, int]]:
        """Preprocess what is not cached; returns (scan, slice) of the eligible slices."""
        index = []
        for scan in track(range(len(self.data)), "training slices", show=progress):
            try:
                profile = _cached(self._profiles, {"key": self._keys[scan], "scan": scan})
                chosen = self._eligible(profile["area"], profile["lesion"], int(profile["image_middle"]))
                for z in chosen:
                    _cached(self._slices, {"key": f"{self._keys[scan]}-{z}", "scan": scan, "slice": z})
            except Exception as error:
                # of MONAI's transforms it has a cause; without one it is the cache's, such as a full disk
                if user_message(error) is None and isinstance(error, (OSError, RuntimeError)) and not error.__cause__:
                    raise
                note_failure(self.failed, os.fspath(ensure_tuple(self.data[scan][self._image_key])[0]), error)
                continue
            index += [(scan, z) for z in chosen]
        self._slicer.forget()
        return index

    def _eligible(self, area: torch.Tensor, lesion: torch.Tensor, image_middle: int) -> list[int]:
        """Slices with enough brain and no lesion."""
        ok = (area > 0) & (area >= self.min_brain_fraction * area.max()) & (lesion == 0)
        if self.middle_slices is not None:
            extent = torch.nonzero(area > 0).flatten()
            middle, lowest = (int(extent[0]) + int(extent[-1]) + 1) // 2, int(extent[0])
            first = max(lowest, middle - self.middle_slices // 2)
            if self.middle_of == "image":
                # fewer where the brain ends before
                first = image_middle - self.middle_slices // 2
            z = torch.arange(len(ok))
            ok &= (z >= first) & (z < first + self.middle_slices)
        return torch.nonzero(ok).flatten().tolist()

    def __len__(self) -> int:
        return len(self.index)

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, for other draws of the augmentation in each."""
        self._draws.epoch = epoch

    def _transform(self, index: int) -> dict[str, Any]:
        return self._draws(index, self.plain, len(self.index))

    def plain(self, index: int) -> dict[str, Any]:
        """Return a slice without augmentation."""
        scan, z = self.index[index]
        item = _cached(self._slices, {"key": f"{self._keys[scan]}-{z}", "scan": scan, "slice": z})
        self._slicer.forget()
        entry = self.data[scan]
        subject = str(entry.get("subject") or ensure_tuple(entry[self._image_key])[0])
        return {"image": item["image"].float(), "brain_mask": item["brain_mask"], "subject": subject}


def _volume_key(item: Mapping[str, Any]) -> bytes:
    """What is in the files; where they lie is no part of it."""
    return json_hashing(item[_CONTENT])


def _cache_key(item: Mapping[str, Any]) -> bytes:
    """The key alone: the position in the list is no part of it."""
    return json_hashing(json.dumps(item["key"]))
