# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NRRD and MetaImage files whose headers say too little, too much, or something else, made line by line."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from monai_cuas.transforms import LoadScand
from monai_cuas.transforms.io import ValidateScand
from monai_cuas.utils import ScanError

IMAGE = np.random.default_rng(0).integers(1, 1000, (7, 6, 5)).astype("<i2")
RAW = IMAGE.tobytes(order="F")
SPACE = "space: left-posterior-superior\n"
GRID = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n"
MATRIX, SIZES = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n", "ElementSpacing = 2 3 4\n"


def _nrrd(path, fields, data=RAW, encoding="raw"):
    head = f"NRRD0005\ntype: int16\ndimension: 3\nsizes: 7 6 5\nencoding: {encoding}\nendian: little\n{fields}\n"
    path.write_bytes(head.encode() + data)
    return str(path)


def _mha(path, fields, data=RAW, compressed=False):
    size = f"CompressedDataSize = {len(data)}\n" if compressed else ""
    head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {compressed}\n"
    path.write_bytes(
        (head + size + fields + "DimSize = 7 6 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n").encode() + data
    )
    return str(path)


def _load(path):
    image = LoadScand("image")({"image": path})["image"]
    return image, image.meta.get("notes") or ""


@pytest.mark.parametrize(
    "write", [lambda t: _nrrd(t / "a.nrrd", SPACE + GRID), lambda t: _mha(t / "a.mha", MATRIX + SIZES)]
)
def test_a_header_that_says_all_needs_no_note(tmp_path, write):
    image, notes = _load(write(tmp_path))
    np.testing.assert_array_equal(image.numpy()[0], IMAGE)
    np.testing.assert_allclose(image.affine, [[-2, 0, 0, -1], [0, -3, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert notes == ""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_compressed_voxels(tmp_path, line_end):
    path = tmp_path / "a.nrrd"
    _nrrd(path, SPACE + GRID, b"", "gzip")
    path.write_bytes(path.read_bytes().replace(b"\n", line_end.encode()) + gzip.compress(RAW))
    np.testing.assert_array_equal(_load(str(path))[0].numpy()[0], IMAGE)
    path = _mha(tmp_path / "a.mha", MATRIX + SIZES, zlib.compress(RAW), True)
    np.testing.assert_array_equal(_load(path)[0].numpy()[0], IMAGE)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda t: _nrrd(t / "a.nrrd", "spacings: 2 3 4\n"), "no orientation"),
        (lambda t: _nrrd(t / "a.nrrd", "space dimension: 3\n" + GRID), "no orientation"),
        (lambda t: _mha(t / "a.mha", SIZES), "no orientation"),
        (lambda t: _mha(t / "a.mha", MATRIX), "no size of the voxel"),
        (lambda t: _mha(t / "a.mha", MATRIX + "ElementSpacing = -2 3 4\n"), "negative"),
        (lambda t: _nrrd(t / "a.nrrd", SPACE + GRID.replace("(0,0,4)", "(0,1,4)")), "sheared by 14.0 degrees"),
    ],
)
def test_what_the_header_leaves_open_is_said(tmp_path, write, says):
    image, notes = _load(write(tmp_path))
    np.testing.assert_array_equal(image.numpy()[0], IMAGE)
    assert says in notes


@pytest.mark.parametrize(
    "write",
    [
        lambda t: _nrrd(t / "a.nrrd", SPACE + GRID, RAW[:-2]),
        lambda t: _nrrd(t / "a.nrrd", SPACE + GRID, gzip.compress(RAW)[:-6], "gzip"),
        lambda t: _nrrd(t / "a.nrrd", SPACE + GRID.replace("(0,3,0)", "(2,0,0)")),
        lambda t: _mha(t / "a.mha", MATRIX + SIZES, RAW[:-2]),
        lambda t: _mha(t / "a.mha", MATRIX + SIZES, zlib.compress(RAW)[:-3], True),
        lambda t: _mha(t / "a.mha", MATRIX.replace("1 0 0 0 1 0", "1 0 0 1 0 0") + SIZES),
    ],
)
def test_damage_is_called_damage(tmp_path, write):
    with pytest.raises(ScanError, match="truncated or damaged"):
        _load(write(tmp_path))


@pytest.mark.parametrize("kind", ["nrrd", "mha", "mhd"])
def test_every_flipped_bit_of_compressed_voxels_is_noticed(tmp_path, kind):
    whole = gzip.compress(RAW, mtime=0) if kind == "nrrd" else zlib.compress(RAW)
    rng = np.random.default_rng(0)
    for place in [*rng.integers(10, len(whole), 20), len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        if kind == "nrrd":
            path = _nrrd(tmp_path / "a.nrrd", SPACE + GRID, bytes(data), "gzip")
        else:
            path = _mha(tmp_path / f"a.{kind}", MATRIX + SIZES, bytes(data), True)
        with pytest.raises(ScanError, match="truncated or damaged"):
            _load(path)


def test_a_segmentation_of_3d_slicer_is_no_scan_but_a_label(tmp_path):
    path = _nrrd(tmp_path / "a.nrrd", SPACE + GRID + "Segment0_ID:=Segment_1\n")
    assert LoadScand("label")({"label": path})["label"].shape == (1, 7, 6, 5)
    with pytest.raises(ScanError, match="segmentation of 3D Slicer"):
        ValidateScand("image", allow_unstripped=True)(LoadScand("image")({"image": path}))
