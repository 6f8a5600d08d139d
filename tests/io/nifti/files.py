# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NIfTI files of any header, made byte by byte: nibabel would not write them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (12, 10, 8)


def volume(shape=SHAPE, seed=0) -> np.ndarray:
    """Asymmetric int16 numbers."""
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)


def affine(sizes=(2.0, 2.5, 3.0), degrees=0.0, handed=1) -> np.ndarray:
    """Turned about the second axis; ``handed`` -1 mirrors the first."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    out = np.eye(4)
    out[:3, :3] = turn @ np.diag([handed, 1, 1]) * np.asarray(sizes)
    out[:3, 3] = (-30, 20, -10)
    return out


def header(matrix=None, sform=1, qform=1, data=None, order="<", **fields: Any) -> Any:
    """Both matrices stated, then single fields overwritten; ``pixdim={1: -2}`` overwrites one number."""
    data = volume() if data is None else data
    out = nib.Nifti1Header(endianness=order)
    out.set_data_dtype(data.dtype)
    out.set_data_shape(data.shape)
    matrix = affine() if matrix is None else matrix
    out.set_sform(matrix, sform)
    out.set_qform(matrix, qform, strip_shears=True)
    # With the codes 0 nibabel sets no zooms.
    out["pixdim"][1:4] = np.linalg.norm(matrix[:3, :3], axis=0)
    out["xyzt_units"], out["magic"], out["vox_offset"] = 2, b"n+1", 352
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, number in value.items():
                out[name][index] = number
        else:
            out[name] = value
    return out


def write(path: Path, head: Any, data=None, behind: bytes = b"", compress: bool | None = None) -> Path:
    """Header, four bytes of no extension, voxels, and what lies behind them."""
    data = volume() if data is None else data
    order = head.endianness
    raw = head.binaryblock + b"\0" * 4 + data.astype(data.dtype.newbyteorder(order)).tobytes(order="F") + behind
    compress = path.name.endswith(".gz") if compress is None else compress
    path.write_bytes(gzip.compress(raw, mtime=0) if compress else raw)
    return path
