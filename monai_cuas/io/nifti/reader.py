# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NIfTI (single files and pairs), Analyze 7.5 and FreeSurfer's MGH for MONAI's LoadImage."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError

from ...utils import ScanError
from .container import DamagedFileError, companion, read_bytes
from .geometry import GeometryError, HeaderForm, grid_of

__all__ = ["NIFTI_SUFFIXES", "NiftiReader", "NiftiVolume", "header_shape", "read_nifti"]

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".mgz", ".mgh", ".mgh.gz")

_COPY = "copy or download it again"
_REPAIR = "repair the header, or convert the scan again from its source"
_CONVERT = "convert it to NIfTI of one number for each voxel"
_MGH = (".mgz", ".mgh", ".mgh.gz")
_PAIR = (".hdr", ".hdr.gz", ".img", ".img.gz")
# 2 gigavoxels are 8 GB of memory, and a cube of 0.2 mm voxels that holds a whole head four times.
_MAX_VOXELS = 2**31
_COLOURS = (128, 2304)
_LABEL_INTENTS = (1002, 1005)
_STATISTIC_INTENTS = range(2, 25)
_VECTOR_INTENTS = {1003: "matrices", 1004: "matrices", 1006: "displacements", 1007: "vectors"}
_OTHER_CONTENTS = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself", "fetch the file with git lfs pull"),
    (b"/annex/objects", "a git-annex pointer and not the file itself", "fetch the file with git annex get"),
    (b"<!doctype html", "a web page, as a failed download leaves", "download it again"),
    (b"<html", "a web page, as a failed download leaves", "download it again"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"BZh", "compressed by bzip2", "unpack it, or compress it by gzip"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it, or compress it by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, or compress it by gzip"),
    (b"NRRD", "NRRD", "name it .nrrd"),
    (b"ObjectType", "MetaImage", "name it .mha or .mhd"),
    (b"\x89HDF", "HDF5 (MINC 2 perhaps)", "convert it to NIfTI"),
)


class NiftiVolume(NamedTuple):
    """
    Args:
        array: (X, Y, Z), or (X, Y, Z, C) if there are several volumes; as stored, scaled by slope and intercept.
        affine: (4, 4) voxel to RAS in mm.
        form: how the header says it; None for formats that have another one.
        notes: what is doubtful in it.
        kind: "" for an image, or what the header says that it is instead, such as "a label map".
    """

    array: np.ndarray
    affine: np.ndarray
    form: HeaderForm | None
    notes: tuple[str, ...]
    kind: str


def read_nifti(path: str | os.PathLike) -> NiftiVolume:
    """
    Read a file strictly: compression by content, the checksum, the header's agreement with itself and with the file.

    Raises:
        ScanError: if it is damaged, contradicts itself, or is no volume of numbers.
    """
    file = os.fspath(path)
    try:
        if file.lower().endswith(_MGH):
            return _read_mgh(file)
        return _read_pair(file) if file.lower().endswith(_PAIR) else _read_nifti(file, file)
    except DamagedFileError as error:
        raise ScanError(file, str(error), _COPY) from None
    except (GeometryError, HeaderDataError) as error:
        raise ScanError(file, str(error).rstrip("."), _REPAIR) from None


def _read_pair(file: str) -> NiftiVolume:
    header_file = companion(file, (".hdr", ".hdr.gz"))
    image_file = companion(file, (".img", ".img.gz"))
    missing = ".hdr" if header_file is None else ".img" if image_file is None else None
    if missing:
        raise ScanError(file, f"the {missing} file that belongs to it is not there", "put both into one folder")
    return _read_nifti(str(header_file), str(image_file))


def header_shape(path: str | os.PathLike) -> tuple[int, ...]:
    """
    Voxels along each axis as a NIfTI file's header has them; compressed or not by its first bytes, as it is read.

    Raises:
        ScanError: if it does not begin as NIfTI does.
        DamagedFileError: if its compression is damaged.
    """
    first = read_bytes(path, lambda first: 0, 540, 0).data
    return tuple(int(n) for n in _header(first, os.fspath(path), True).get_data_shape())


def _read_nifti(header_file: str, image_file: str) -> NiftiVolume:
    single = header_file == image_file
    header: Any = None

    def length(first: bytes) -> int:
        nonlocal header
        header = _header(first, header_file, single)
        return _data_end(header, header_file, single)

    if single:
        data, surplus = read_bytes(image_file, length, 540, _CHUNK_OF_SURPLUS)
    else:
        head = read_bytes(header_file, lambda first: 0, 540, 0)
        end = length(head.data)
        data, surplus = read_bytes(image_file, lambda first: end, 0, _CHUNK_OF_SURPLUS)
    notes = _surplus_notes(header, surplus, header_file)
    if (header.get_slope_inter()[0] or 1.0) < 0:
        notes.append("scl_slope is negative, which turns dark to bright")
    array = _array(header, data, single)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 4:
        if array.shape[3] != 1 or array.ndim > 5:
            raise ScanError(image_file, f"not one 3D volume but several (array of shape {array.shape})", _EXTRACT)
        array = array[..., 0, :]
    form = HeaderForm.of(header) if isinstance(header, nib.Nifti1Header) else None
    if form is None:
        # Analyze 7.5 has no place for an orientation.
        form = HeaderForm.without_orientation([abs(float(v)) for v in header["pixdim"][1:4]])
    shape = (*array.shape, 1, 1)[:3]
    affine, doubts = grid_of(form, shape)
    return NiftiVolume(array, affine, form, (*notes, *doubts), _kind(header))


_CHUNK_OF_SURPLUS = 1 << 24
_EXTRACT = "extract one 3D volume from it"


def _header(first: bytes, file: str, single: bool) -> Any:
    """The header of nibabel, unchecked: it would mend without a word what is judged here."""
    little, big = (int.from_bytes(first[:4], order, signed=True) for order in ("little", "big"))
    for size, kind, magic_at, magics in (
        (348, nib.Nifti1Header, 344, (b"n+1\0", b"ni1\0")),
        (540, nib.Nifti2Header, 4, (b"n+2\0", b"ni2\0")),
    ):
        if size in (little, big) and len(first) >= size and first[magic_at : magic_at + 4] in magics:
            if single and first[magic_at : magic_at + 4] == magics[1]:
                raise ScanError(file, "the header of a pair of files", "name it .hdr and give the .img file beside it")
            return kind(first[:size], "<" if little == size else ">", check=False)
    if 348 in (little, big) and len(first) >= 348 and not single:
        return nib.AnalyzeHeader(first[:348], "<" if little == 348 else ">", check=False)
    raise _foreign(first, file)


def _foreign(first: bytes, file: str) -> ScanError:
    start = first[:512].lstrip().lower()
    for mark, what, remedy in _OTHER_CONTENTS:
        if mark.lower() in start[: 64 if mark != b"/annex/objects" else 512]:
            return ScanError(file, f"the content is {what}", remedy)
    return ScanError(file, "not an image that can be read: it does not begin as NIfTI does", _COPY)


def _data_end(header: Any, file: str, single: bool) -> int:
    """Number of bytes up to the end of the voxels."""
    dim = [int(v) for v in header["dim"]]
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise HeaderDataError(f"its header is damaged: dim is {dim}")
    voxels = int(np.prod(dim[1 : dim[0] + 1], dtype=object))
    if voxels > _MAX_VOXELS:
        shape = " x ".join(map(str, dim[1 : dim[0] + 1]))
        raise HeaderDataError(f"its header asks for {shape} voxels, which no scan of a head has")
    size = _voxel_bytes(header, file)
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or offset != int(offset) or offset < (header.sizeof_hdr if single else 0):
        raise HeaderDataError(f"its header is damaged: vox_offset is {offset:g}")
    return int(offset) + voxels * size


def _voxel_bytes(header: Any, file: str) -> int:
    code = int(header["datatype"])
    if code in _COLOURS:
        raise ScanError(file, "its voxels are colours (RGB)", _CONVERT)
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise HeaderDataError(f"its header is damaged: datatype {code} is unknown") from None
    if dtype.kind == "c":
        raise ScanError(
            file, "its voxels are complex numbers", "give the magnitude, which is one number for each voxel"
        )
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise HeaderDataError(f"its voxels are of a type that cannot be read (datatype {code})")
    bits = int(header["bitpix"])
    if bits not in (0, 8 * dtype.itemsize):
        raise HeaderDataError(
            f"its header contradicts itself: bitpix is {bits}, but datatype {code} has {8 * dtype.itemsize}"
        )
    return int(dtype.itemsize)


def _surplus_notes(header: Any, surplus: int, file: str) -> list[str]:
    """A few bytes behind the voxels are padding; a slice or more says that dim is wrong."""
    if not surplus:
        return []
    shape = header.get_data_shape()
    # One entry less on the longest axis leaves the fewest voxels over.
    plane = int(np.prod(shape)) // max(shape) * header.get_data_dtype().itemsize
    if surplus >= min(plane, _CHUNK_OF_SURPLUS):
        more = "more than " if surplus > _CHUNK_OF_SURPLUS else ""
        raise HeaderDataError(
            f"its header contradicts the file: {more}{surplus} bytes lie behind the voxels that dim {shape} tells of"
        )
    return [f"{surplus} bytes lie behind the voxels"]


def _array(header: Any, data: bytes, single: bool) -> np.ndarray:
    slope, inter = header.get_slope_inter() if hasattr(header, "get_slope_inter") else (None, None)
    scaling = () if slope is None else (slope, inter)
    spec = (header.get_data_shape(), header.get_data_dtype(), int(header["vox_offset"]), *scaling)
    array = np.asanyarray(ArrayProxy(io.BytesIO(data), spec))
    # torch takes no big-endian numbers
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _kind(header: Any) -> str:
    if not isinstance(header, nib.Nifti1Header):
        return ""
    intent = int(header["intent_code"])
    described = bytes(header["descrip"].tobytes()).rstrip(b"\0").decode("ascii", "replace")
    if described.startswith("monai_cuas "):
        return f"a result of monai_cuas ({described[len('monai_cuas ') :]})"
    if intent in _LABEL_INTENTS:
        return "a label map (intent_code)"
    if intent in _STATISTIC_INTENTS:
        return f"a map of a statistic (intent_code {intent})"
    if intent in _VECTOR_INTENTS:
        return f"a field of {_VECTOR_INTENTS[intent]} (intent_code {intent})"
    if 3000 <= intent < 3100:
        return "CIFTI, data of the cortex' surface"
    return ""


def _read_mgh(file: str) -> NiftiVolume:
    header: Any = None

    def length(first: bytes) -> int:
        nonlocal header
        if len(first) < 284 or int.from_bytes(first[:4], "big", signed=True) != 1:
            raise _foreign(first, file)
        header = nib.freesurfer.MGHImage.header_class(first[:90], check=False)
        dims = [int(v) for v in header["dims"]]
        if any(n < 1 for n in dims) or int(np.prod(dims, dtype=object)) > _MAX_VOXELS:
            raise HeaderDataError(f"its header is damaged: the dimensions are {dims}")
        try:
            itemsize = header.get_data_dtype().itemsize
        except (HeaderDataError, KeyError):
            raise HeaderDataError(f"its header is damaged: type {int(header['type'])} is unknown") from None
        return 284 + int(np.prod(dims)) * itemsize

    data, _ = read_bytes(file, length, 284, _CHUNK_OF_SURPLUS)
    array = np.asanyarray(ArrayProxy(io.BytesIO(data), (header.get_data_shape(), header.get_data_dtype(), 284)))
    array = array.astype(array.dtype.newbyteorder("="))
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    affine = np.asarray(header.get_affine(), dtype=np.float64)
    if not np.isfinite(affine).all() or (np.linalg.norm(affine[:3, :3], axis=0) == 0).any():
        raise GeometryError("its header is damaged: the affine matrix is singular or not finite")
    if abs(np.linalg.det(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))) < 0.2:
        raise GeometryError("its header is damaged: the affine matrix is singular or nearly so")
    if int.from_bytes(data[28:30], "big"):
        return NiftiVolume(array, affine, None, (), "")
    # FreeSurfer, and nibabel after it, take such a volume for a coronal one of 1 mm.
    doubt = "the header states no orientation (goodRASFlag is 0): voxels of 1 mm, left and right are a guess"
    return NiftiVolume(array, affine, HeaderForm.without_orientation([1.0] * 3), (doubt,), "")


class NiftiReader(ImageReader):
    """
    Read NIfTI, Analyze 7.5 (.hdr and .img) and MGH with nibabel's parts, by the rule of :func:`grid_of`.

    MONAI's NibabelReader does not read gzip's checksum, goes by the name's suffix, and changes a header that
    contradicts itself without a word. Only geometry goes into the metadata: a header's description may hold a name.

    The metadata carry "notes" (phrases joined by semicolons), "nifti_form" (:meth:`HeaderForm.to_array`, for writing
    results in the form of the scan) and "kind" ("" for an image).
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True if every name ends as NIfTI, Analyze or MGH do."""
        return all(str(f).lower().endswith(NIFTI_SUFFIXES) for f in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[NiftiVolume]:  # type: ignore[override]
        """One volume per path."""
        return [read_nifti(os.fspath(f)) for f in ensure_tuple(data)]

    def get_data(self, img: Sequence[NiftiVolume]) -> tuple[np.ndarray, dict]:
        """Array (X, Y, Z), or (X, Y, Z, C) for several volumes in a file, and its metadata with the affine in RAS."""
        first = img[0]
        for other in img[1:]:
            if other.array.shape != first.array.shape or not np.allclose(other.affine, first.affine, atol=1e-3):
                raise RuntimeError("affine matrix of all images should be the same for channel-wise concatenation.")
        array = np.stack([v.array for v in img]) if len(img) > 1 else first.array
        meta: dict[str, Any] = {
            MetaKeys.AFFINE: first.affine,
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.array.shape[:3]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if len(img) > 1 else -1 if array.ndim > 3 else "no_channel",
            "notes": "; ".join(dict.fromkeys(note for volume in img for note in volume.notes)),
            "kind": next((volume.kind for volume in img if volume.kind), ""),
        }
        if first.form is not None:
            meta["nifti_form"] = first.form.to_array()
        return array, meta
