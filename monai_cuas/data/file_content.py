# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a file of a folder is by its voxels: a scan, a mask, a map, or nothing that can be read."""

from __future__ import annotations

import os
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from ..io.nifti.container import is_compressed
from ..io.nifti.reader import NIFTI_SUFFIXES, read_nifti
from ..io.simpleitk import SimpleITKReader
from ..transforms.io.content import MIN_VALUES, content_of, count_values
from ..utils import ScanError, scan_stem

__all__ = ["FileContent", "is_map_by_name", "look_into", "may_be_mask", "same_grid"]

# A mask or label map shrinks to less than this by compression, and a scan never.
_MASK_SHRINKS_TO = 0.05
_BLOCK = 1 << 21
# As FSL, SPM, FreeSurfer, AFNI and ANTs call what they make of scans; their voxels alone do not tell.
_MAP_NAMES = re.compile(
    r"(?:^|[_.-])(?:(?:thresh_|rendered_thresh_)?[ztf](?:f)?stat\d*|spm[tf]_\d+|(?:var)?copes?\d*|[ztf]-?map|"
    r"resms|aparc\S*aseg|aseg|aparc|wmparc|jac(?:obian)?|warpfield|inversewarp|def(?:ormation)?field|"
    r"biasfield)(?:[_.-]|$)",
    re.IGNORECASE,
)
_REMEMBERED = 4096


class FileContent(NamedTuple):
    """
    Args:
        problem: why it cannot be a scan, such as that it cannot be read; None if it can.
        kind: "" for a scan, "mask" or "map", see :class:`~monai_cuas.transforms.io.content.Content`.
        ml: volume of what is above 0.
        shape: of the voxels.
        affine: (16,) voxel to RAS in mm.
        values: number of different values, at most of a sample.
    """

    problem: str | None
    kind: str = ""
    ml: float = 0.0
    shape: tuple[int, ...] = ()
    affine: tuple[float, ...] = ()
    values: int = 0

    @property
    def is_scan(self) -> bool:
        """Whether it can be read, and is neither a mask, a map nor a constant."""
        return self.problem is None and self.values >= MIN_VALUES


def is_map_by_name(path: str | os.PathLike) -> bool:
    """Whether a file is called as a map of a statistic, of parts or of a deformation is (``zstat1``, ``spmT_0001``)."""
    return bool(_MAP_NAMES.search(os.path.basename(scan_stem(os.fspath(path)))))


def look_into(path: str | os.PathLike) -> FileContent:
    """Read a volume (NIfTI, Analyze, MGH, NRRD, MetaImage) once and tell what it is."""
    try:
        state = os.stat(path)
        return _look(os.fspath(path), state.st_mtime_ns, state.st_size)
    except OSError as error:
        return FileContent(f"it cannot be read ({error.strerror})")


@lru_cache(_REMEMBERED)
def _look(path: str, changed: int, size: int) -> FileContent:
    if not os.path.isfile(path):
        return FileContent("neither a file nor a folder")
    if size == 0:
        return FileContent("the file is empty")
    if not os.access(path, os.R_OK):
        return FileContent("the file may not be read")
    try:
        array, affine, says = _read(path)
    except ScanError as error:
        foreign = error.problem.startswith("not an image that can be read")
        return FileContent("not a readable NIfTI file" if foreign else error.problem)
    except MemoryError:
        return FileContent("there is not enough memory to read it")
    except Exception:  # readers raise many kinds for a bad file, all mean the same here
        return FileContent("not an image that can be read")
    place = (array.shape, tuple(affine.ravel().tolist()))
    if array.ndim > 3:
        return FileContent(f"not one 3D volume but several (array of shape {array.shape})", "", 0.0, *place)
    with np.errstate(over="ignore"):
        volume = np.nan_to_num(np.atleast_3d(array).astype(np.float32), posinf=0, neginf=0)
    if not volume.any() and array.any():
        return FileContent("none of its values is a number of single precision", "", 0.0, *place)
    ml = float((volume > 0).sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    found = content_of(volume, None, affine)
    if says and found.kind != "mask" or says.startswith("a result"):
        return FileContent(f"it says that it is {says}", "map", ml, *place)
    what = f"a mask: {found.why}" if found.kind == "mask" else found.why
    return FileContent(what or None, found.kind, ml, *place, count_values(volume.ravel()))


def _read(path: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Voxels, matrix, and what the header says that it is."""
    if path.lower().endswith(NIFTI_SUFFIXES):
        volume = read_nifti(path)
        return volume.array, volume.affine, volume.kind
    array, meta = SimpleITKReader().get_data(SimpleITKReader().read(path))
    return array, np.asarray(meta["affine"]), str(meta["kind"])


def may_be_mask(path: str | os.PathLike) -> bool:
    """Whether a file shrinks so much by compression as masks do and scans do not; True where that is not known."""
    file = os.fspath(path)
    if not file.lower().endswith((".nii", ".nii.gz")):
        return True
    try:
        size = os.path.getsize(file)
        if is_compressed(file):
            header: Any = nib.load(file).header  # type: ignore[attr-defined]
            voxels = int(np.prod(header.get_data_shape(), dtype=object)) * header.get_data_dtype().itemsize
            return size < _MASK_SHRINKS_TO * voxels or voxels < _BLOCK
        with open(file, "rb") as stream:
            stream.seek(max(0, size // 2 - _BLOCK // 2))
            block = stream.read(_BLOCK)
    except Exception:  # what is wrong with it is said where it is read
        return True
    return len(zlib.compress(block, 1)) < _MASK_SHRINKS_TO * len(block) or len(block) < _BLOCK // 2


def same_grid(first: str | Path, second: str | Path) -> bool:
    """Whether two volumes have the same spatial shape and matrix (to a hundredth)."""
    one, other = look_into(first), look_into(second)
    return bool(one.shape) and one.shape[:3] == other.shape[:3] and np.allclose(one.affine, other.affine, atol=1e-2)
