# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NRRD, MetaImage and pictures through SimpleITK, for MONAI's LoadImage (its own reader needs the itk package)."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ..utils import PICTURE_SUFFIXES, ScanError

__all__ = ["SimpleITKReader"]

_VOLUMES = (".nrrd", ".nhdr", ".mha", ".mhd")
_HEADERS = (".nhdr", ".mhd")
_SUFFIXES = (*_VOLUMES, *PICTURE_SUFFIXES)
_MOST_HEADER = 1 << 16
_SHEAR = float(np.sin(np.deg2rad(1)))


class ReadFile(NamedTuple):
    """
    Args:
        image: as SimpleITK reads it.
        notes: what the header leaves open, one phrase each.
        kind: "" for an image, or what the header says that it is instead.
    """

    image: sitk.Image
    notes: tuple[str, ...]
    kind: str


class SimpleITKReader(ImageReader):
    """
    Read volumes and pictures with SimpleITK. Only geometry goes into the metadata: nothing that identifies a person.

    A picture becomes a volume of one slice with pixels of 1 mm, whatever resolution its file claims, and its colours
    become channels. Its rows run to posterior and its columns to the left, so that it is shown as it was drawn.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True if every name ends in one of .nrrd .nhdr .mha .mhd or as pictures do."""
        return all(str(f).lower().endswith(_SUFFIXES) for f in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[ReadFile]:  # type: ignore[override]
        """
        One image per path.

        Raises:
            ScanError: if a file is damaged.
        """
        return [_read(str(f)) for f in ensure_tuple(data)]

    def get_data(self, img: Sequence[ReadFile]) -> tuple[np.ndarray, dict]:
        """Array (X, Y, Z), or (C, X, Y, Z) for several files, and its metadata with the affine in RAS."""
        arrays = [_array(one.image) for one in img]
        affine = _ras_affine(img[0].image)
        for one, array in zip(img[1:], arrays[1:]):
            if array.shape != arrays[0].shape or not np.allclose(_ras_affine(one.image), affine, atol=1e-3):
                raise RuntimeError("affine matrix of all images should be the same for channel-wise concatenation.")
        meta = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(arrays[0].shape[-3:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if len(arrays) > 1 or arrays[0].ndim > 3 else "no_channel",
            "notes": "; ".join(dict.fromkeys(note for one in img for note in one.notes)),
            "kind": next((one.kind for one in img if one.kind), ""),
        }
        return (np.stack(arrays) if len(arrays) > 1 else arrays[0]), meta


def _read(path: str) -> ReadFile:
    fields = _fields(path) if path.lower().endswith(_VOLUMES) else {}
    compressed = fields.get("compresseddata", "").lower() == "true" or fields.get("encoding", "") in ("gzip", "gz")
    if compressed and not any(name in fields for name in ("byte skip", "byteskip", "line skip", "lineskip")):
        _check_compressed(path, fields)
    try:
        image = sitk.ReadImage(path)
    except RuntimeError:
        if not fields:
            raise
        problem = "its voxels are truncated or damaged, or its header contradicts itself"
        raise ScanError(path, problem, "copy or download it again, or convert it again from its source") from None
    kind = "a segmentation of 3D Slicer" if any(name.startswith("segment0_") for name in fields) else ""
    notes = () if image.GetDimension() == 2 or not fields else tuple(_open_questions(fields, image))
    return ReadFile(image, notes, kind)


def _fields(path: str) -> dict[str, str]:
    """Lines "name: value" (NRRD) or "name = value" (MetaImage) at the start of a file, names in lower case."""
    with open(path, "rb") as file:
        head = file.read(_MOST_HEADER)
    blank = re.search(rb"\r?\n\r?\n", head) if head.startswith(b"NRRD") else None
    text = head[: blank.start()] if blank else head
    found = {"begin": str(blank.end())} if blank else {}
    for line in text.split(b"\n"):
        name, mark, value = line.decode("latin-1").partition(":" if head.startswith(b"NRRD") else "=")
        if not mark and not line.startswith((b"NRRD", b"#")):
            break
        found[name.strip().lower()] = value.strip(" =\r")
        if name.strip().lower() == "elementdatafile":
            found["begin"] = str(head.find(line) + len(line) + 1)
            break
    return found if head.startswith(b"NRRD") or "elementdatafile" in found else {}


def _named_data(fields: dict[str, str]) -> str:
    """What a header says of where its voxels are; LOCAL: in the same file."""
    return fields.get("elementdatafile") or fields.get("data file") or fields.get("datafile") or "LOCAL"


def detached_data(path: str) -> list[str]:
    """
    Files with the voxels of a .mhd or .nhdr header, which may have any name.

    Returns:
        Their paths; where the header lists several or gives a pattern, all files of the folder; empty for other
        formats, and if the voxels are in the file itself.
    """
    if not path.lower().endswith(_HEADERS) or not os.path.isfile(path):
        return []
    named = _named_data(_fields(path))
    folder = os.path.dirname(path)
    if named.upper() == "LOCAL":
        return []
    if os.path.isfile(os.path.join(folder, named)):
        return [os.path.join(folder, named)]
    return sorted(file.path for file in os.scandir(folder or ".") if file.is_file())


def _check_compressed(path: str, fields: dict[str, str]) -> None:
    """ITK does not look at every checksum of zlib."""
    named = _named_data(fields)
    local = named.upper() == "LOCAL"
    data = path if local else os.path.join(os.path.dirname(path), named)
    if not os.path.isfile(data):
        # A list or a pattern of files, or nothing: ITK tells.
        return
    inflate = zlib.decompressobj(wbits=47)
    try:
        with open(data, "rb") as file:
            file.seek(int(fields.get("begin", 0)) if local else 0)
            while chunk := file.read(1 << 20):
                inflate.decompress(chunk)
    except (OSError, zlib.error):
        inflate = zlib.decompressobj()
    if not inflate.eof:
        raise ScanError(path, "its compressed voxels are truncated or damaged", "copy or download it again")


def _open_questions(fields: dict[str, str], image: sitk.Image) -> Iterator[str]:
    """What the header does not state, and ITK fills in without a word."""
    nrrd = "elementdatafile" not in fields
    oriented = ("space",) if nrrd else ("transformmatrix", "orientation", "rotation")
    sized = ("space directions", "spacings") if nrrd else ("elementspacing", "elementsize")
    if not any(name in fields for name in oriented) or (nrrd and "space directions" not in fields):
        yield "the header states no orientation: left and right are a guess"
    if not any(name in fields for name in sized):
        yield "the header states no size of the voxel: taken as 1 mm"
    if "-" in fields.get("elementspacing", ""):
        yield "the size of the voxel is negative: its sign was left out"
    direction = np.asarray(image.GetDirection()).reshape(image.GetDimension(), -1)
    cosine = float(np.abs(np.triu(direction.T @ direction, 1)).max())
    if cosine > _SHEAR:
        yield f"the grid is sheared by {np.degrees(np.arcsin(min(1.0, cosine))):.1f} degrees"


def _array(image: sitk.Image) -> np.ndarray:
    """SimpleITK counts axes backwards; components (colour, vectors) become leading channels, pictures one slice."""
    array = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
    return array[..., None] if image.GetDimension() == 2 else array


def _ras_affine(image: sitk.Image) -> np.ndarray:
    """Voxel to world matrix; SimpleITK's world is LPS, NIfTI's and MONAI's is RAS."""
    n = image.GetDimension()
    if n == 2:
        return np.diag([-1.0, -1.0, 1.0, 1.0])
    direction = np.asarray(image.GetDirection()).reshape(n, n)
    affine = np.eye(n + 1)
    affine[:n, :n] = direction * np.asarray(image.GetSpacing())
    affine[:n, n] = image.GetOrigin()
    affine[:2] *= -1
    return affine
