# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.io.nifti import NiftiReader, header_shape
from monai_cuas.io.nifti.reader import read_nifti
from monai_cuas.utils import ScanError
from tests.io.nifti.files import affine, header, volume, write


def _refused(path) -> str:
    with pytest.raises(ScanError) as caught:
        read_nifti(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.count("\n") == 0
    return text


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compression_and_byte_order_by_content(tmp_path, name, compress, order):
    read = read_nifti(write(tmp_path / name, header(order=order), compress=compress))
    np.testing.assert_array_equal(read.array, volume())
    assert read.array.dtype.isnative
    assert read.notes == ()
    np.testing.assert_allclose(read.affine, affine(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_types_of_numbers_as_nibabel_reads_them(tmp_path, dtype):
    data = volume().astype(dtype)
    path = write(tmp_path / "a.nii.gz", header(data=data), data)
    np.testing.assert_array_equal(read_nifti(path).array, np.asanyarray(nib.load(path).dataobj))


@pytest.mark.parametrize(
    "slope", [(0.5, -100.0), (1.0, -1024.0), (-2.0, 3.0), (0.0, 7.0), (np.nan, np.nan), (0.1, 0.0)]
)
def test_slope_and_intercept_as_nibabel_reads_them(tmp_path, slope):
    path = write(tmp_path / "a.nii", header(scl_slope=slope[0], scl_inter=slope[1]))
    read, expected = read_nifti(path).array, np.asanyarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(read, expected)
    assert read.dtype == expected.dtype


@pytest.mark.parametrize("shape", [(12, 10, 8), (12, 10, 8, 1), (12, 10, 8, 1, 1), (12, 10, 8, 1, 1, 1)])
def test_axes_of_one_entry_are_dropped(tmp_path, shape):
    data = volume().reshape(shape)
    np.testing.assert_array_equal(read_nifti(write(tmp_path / "a.nii", header(data=data), data)).array, volume())


def test_several_volumes(tmp_path):
    four = volume((6, 5, 4, 3))
    array, meta = NiftiReader().get_data([read_nifti(write(tmp_path / "a.nii", header(data=four), four))])
    assert array.shape == (6, 5, 4, 3)
    assert meta["original_channel_dim"] == -1
    five = four.reshape(6, 5, 4, 1, 3)
    assert read_nifti(write(tmp_path / "a.nii", header(data=five), five)).array.shape == (6, 5, 4, 3)
    six = volume((6, 5, 4, 2, 3))
    assert "several" in _refused(write(tmp_path / "a.nii", header(data=six), six))


def test_nifti_2_pairs_analyze_and_freesurfer(tmp_path):
    matrix = affine(degrees=15, handed=-1)
    nib.save(nib.Nifti2Image(volume(), matrix), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Pair(volume(), matrix), tmp_path / "pair.img")
    nib.save(nib.MGHImage(volume().astype(np.float32), matrix), tmp_path / "fs.mgz")
    nib.save(nib.MGHImage(volume().astype(np.int32), matrix), tmp_path / "fs.mgh")
    for name in ("two.nii.gz", "pair.img", "pair.hdr", "fs.mgz", "fs.mgh"):
        read = read_nifti(tmp_path / name)
        np.testing.assert_array_equal(read.array, volume(), err_msg=name)
        np.testing.assert_allclose(read.affine, matrix, atol=1e-4, err_msg=name)
        assert read.notes == ()
    analyze = nib.AnalyzeImage(volume(), None)
    analyze.header.set_zooms((2.0, 2.5, 3.0))
    nib.save(analyze, tmp_path / "old.img")
    read = read_nifti(tmp_path / "old.hdr")
    np.testing.assert_array_equal(read.array, volume())
    assert "left and right are a guess" in read.notes[0]
    np.testing.assert_allclose(np.linalg.norm(read.affine[:3, :3], axis=0), (2, 2.5, 3))
    os.remove(tmp_path / "pair.img")
    assert "the .img file" in _refused(tmp_path / "pair.hdr")


def test_freesurfer_without_orientation(tmp_path):
    image = nib.MGHImage(volume().astype(np.float32), np.eye(4))
    image.header["goodRASFlag"] = 0
    raw = image.header.binaryblock[:90].ljust(284, b"\0") + volume().astype(">f4").tobytes(order="F")
    (tmp_path / "a.mgh").write_bytes(raw)
    read = read_nifti(tmp_path / "a.mgh")
    np.testing.assert_array_equal(read.array, volume())
    assert "goodRASFlag" in read.notes[0]
    assert read.form.sform_code == 0
    (tmp_path / "a.mgh").write_bytes(raw[:-5])
    assert "truncated" in _refused(tmp_path / "a.mgh")


def test_every_flipped_bit_of_compressed_data_is_noticed(tmp_path):
    whole = write(tmp_path / "a.nii.gz", header()).read_bytes()
    rng = np.random.default_rng(0)
    # The header of gzip holds a time and a name that no checksum covers.
    places = [*rng.integers(10, len(whole), 60), *range(len(whole) - 8, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.nii.gz").write_bytes(damaged)
        assert "damaged" in (text := _refused(tmp_path / "b.nii.gz")) or "truncated" in text


@pytest.mark.parametrize("left", [0.02, 0.3, 0.9, 0.999, -1, -4, -8])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_every_cut_end_is_noticed(tmp_path, name, left):
    path = write(tmp_path / name, header())
    whole = path.read_bytes()
    path.write_bytes(whole[: left if left < 0 else int(left * len(whole))])
    text = _refused(path)
    assert "truncated" in text or "not an image" in text


def test_members_joined_are_one_stream_and_refuse_as_one(tmp_path):
    raw = write(tmp_path / "a.nii", header()).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, volume())
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw) + b"rubbish")
    assert "damaged" in _refused(tmp_path / "b.nii.gz")


def test_a_few_bytes_behind_are_said_a_slice_is_refused(tmp_path):
    read = read_nifti(write(tmp_path / "a.nii.gz", header(), behind=b"\0" * 100))
    np.testing.assert_array_equal(read.array, volume())
    assert read.notes == ("100 bytes lie behind the voxels",)
    assert "lie behind the voxels" in _refused(write(tmp_path / "a.nii.gz", header(), behind=b"\0" * 240))


@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize("by", [-1, 1, 30000])
def test_dim_that_is_not_the_file_is_refused(tmp_path, index, by):
    head = header()
    head["dim"][index] = min(32767, head["dim"][index] + by)
    assert "truncated" in (text := _refused(write(tmp_path / "a.nii.gz", head))) or "contradicts" in text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dim": {1: 0}}, "dim is"),
        ({"dim": {2: -10}}, "dim is"),
        ({"dim": {0: 9}}, "dim is"),
        ({"dim": {0: 4, 1: 32767, 2: 32767, 3: 32767, 4: 32767}}, "which no scan of a head has"),
        ({"datatype": 128, "bitpix": 24}, "colours"),
        ({"datatype": 2304, "bitpix": 32}, "colours"),
        ({"datatype": 32, "bitpix": 64}, "complex"),
        ({"datatype": 1792, "bitpix": 128}, "complex"),
        ({"datatype": 99}, "datatype 99 is unknown"),
        ({"datatype": 0}, "datatype"),
        ({"datatype": 1, "bitpix": 1}, "datatype"),
        ({"datatype": 2}, "contradicts itself: bitpix is 16"),
        ({"bitpix": 32}, "contradicts itself: bitpix is 32"),
        ({"vox_offset": 8.0}, "vox_offset"),
        ({"vox_offset": 352.5}, "vox_offset"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": 360.0}, "truncated"),
        ({"scl_slope": 2.0, "scl_inter": np.inf}, "intercept"),
        ({"pixdim": {1: 4.0}}, "contradicts itself"),
        ({"magic": b"ni1"}, "pair of files"),
        ({"magic": b"xyz"}, "does not begin as NIfTI does"),
        ({"sizeof_hdr": 7}, "does not begin as NIfTI does"),
    ],
)
def test_damaged_headers(tmp_path, fields, says):
    assert says in _refused(write(tmp_path / "a.nii.gz", header(**fields)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.nii.gz\n", "git annex get"),
        (b"PK\x03\x04" + b"\0" * 600, "ZIP"),
        (b"NRRD0004\n" + b"\0" * 600, ".nrrd"),
        (b"BZh9" + b"\0" * 600, "bzip2"),
        (b"\0" * 4000, "does not begin as NIfTI does"),
        (b"x", "does not begin as NIfTI does"),
    ],
)
def test_what_is_no_nifti_is_called_what_it_is(tmp_path, content, says):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert says in _refused(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("intent", "kind"), [(1002, "label"), (5, "statistic"), (3, "statistic"), (1006, "displacements"), (0, "")]
)
def test_what_the_header_says_it_is(tmp_path, intent, kind):
    assert kind in read_nifti(write(tmp_path / "a.nii", header(intent_code=intent))).kind
    assert bool(read_nifti(tmp_path / "a.nii").kind) == bool(kind)


def test_only_geometry_goes_into_the_metadata(tmp_path):
    path = write(tmp_path / "a.nii", header(descrip=b"ZYXNAME", aux_file=b"ZYXNAME", db_name=b"ZYXNAME"))
    _, meta = NiftiReader().get_data([read_nifti(path)])
    assert "ZYX" not in repr(meta)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("compressed", [True, False])
def test_shape_by_the_content_whatever_the_name_says(tmp_path, name, compressed):
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), np.uint8), np.eye(4)), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if compressed else content)
    assert header_shape(tmp_path / name) == (5, 4, 3)


def test_shape_of_what_is_no_nifti(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"<html>")
    with pytest.raises(ScanError):
        header_shape(tmp_path / "a.nii")
