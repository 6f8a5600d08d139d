# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.io.nifti import GeometryError, HeaderForm, grid_of, save_nifti
from tests.io.nifti.files import SHAPE, affine, header, volume


def _grid(head):
    return grid_of(HeaderForm.of(head), SHAPE)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (1, 0), (0, 1), (2, 1), (4, 0), (0, 3)])
@pytest.mark.parametrize("handed", [1, -1])
def test_one_matrix_or_two_that_agree_need_no_note(sform, qform, handed):
    matrix, notes = _grid(header(affine(degrees=20, handed=handed), sform, qform))
    np.testing.assert_allclose(matrix, affine(degrees=20, handed=handed), atol=1e-4)
    assert notes == []


def test_the_very_numbers_that_nibabel_gives():
    for sform, qform in ((1, 1), (0, 1)):
        head = header(affine(degrees=33.3, sizes=(0.4688, 0.4688, 5.5)), sform, qform)
        np.testing.assert_array_equal(_grid(head)[0], head.get_best_affine())


def test_no_orientation_is_a_guess_that_is_said():
    head = header(sform=0, qform=0)
    matrix, notes = _grid(head)
    np.testing.assert_allclose(matrix, affine(), atol=1e-5)
    assert "left and right are a guess" in notes[0]
    head["srow_x"] = head["srow_y"] = head["srow_z"] = 0
    matrix, notes = _grid(head)
    np.testing.assert_array_equal(matrix, head.get_base_affine())
    assert "left and right are a guess" in notes[0]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"srow_x": 0, "srow_y": 0, "srow_z": 0}, "sform is singular"),
        ({"srow_x": (2, 2, 2, 0), "srow_y": (2, 2, 2, 0), "srow_z": (2, 2, 2, 0)}, "sform is singular"),
        ({"srow_y": (0, 2.5, np.nan, 0)}, "sform is not finite"),
        ({"srow_z": (0, 0, np.inf, 0)}, "sform is not finite"),
        ({"quatern_b": 5.0}, "quaternion of the qform is no rotation"),
        ({"quatern_c": np.nan}, "qform is not finite"),
        ({"qoffset_z": np.inf}, "qform is not finite"),
    ],
)
def test_a_broken_matrix_gives_way_to_the_other_and_this_is_said(fields, says):
    matrix, notes = _grid(header(**fields))
    np.testing.assert_allclose(matrix, affine(), atol=1e-4)
    assert any(says in note for note in notes)


@pytest.mark.parametrize("shift", [1.0, 30.0, -200.0])
def test_a_shift_between_the_two_is_said_and_the_sform_counts(shift):
    matrix, notes = _grid(header(qoffset_x=-30.0 + shift))
    np.testing.assert_allclose(matrix, affine(), atol=1e-5)
    assert f"{abs(shift):.4g} mm apart" in notes[0]


def test_a_turn_to_a_template_is_said():
    head = header(sform=4)
    head.set_qform(affine(degrees=12), 1)
    matrix, notes = _grid(head)
    np.testing.assert_allclose(matrix, affine(), atol=1e-5)
    assert "apart: the sform counts" in notes[0]


@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize("factor", [0.5, 1.05, 2, 1e6, 1e-6])
def test_two_sizes_of_a_voxel_are_refused(index, factor):
    head = header()
    head["pixdim"][index] *= factor
    with pytest.raises(GeometryError, match="voxels of .* by the sform, of .* by pixdim"):
        _grid(head)


def test_left_and_right_swapped_between_the_two_is_refused():
    with pytest.raises(GeometryError, match="left and right are swapped"):
        _grid(header(pixdim={0: -1.0}))
    head = header()
    head.set_qform(affine(degrees=90, sizes=(2, 2.5, 3)), 1)
    with pytest.raises(GeometryError, match="differ in direction by 90 degrees"):
        _grid(head)


@pytest.mark.parametrize(
    "fields",
    [
        {"qform": 0, "srow_x": 0},
        {"qform": 0, "srow_x": (np.nan,) * 4},
        {"sform": 0, "quatern_d": 3.0},
        {"sform": 0, "pixdim": {2: 0.0}},
        {"sform": 0, "qform": 0, "pixdim": {1: np.nan}},
        {"srow_x": 0, "quatern_b": 2.0},
    ],
)
def test_nothing_that_can_be_used_is_refused(fields):
    with pytest.raises(GeometryError):
        _grid(header(**fields))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pixdim": {1: -2.0}}, "negative"),
        ({"pixdim": {1: 0.0}, "qform": 0}, "states no size"),
        ({"pixdim": {3: np.inf}, "qform": 0}, "states no size"),
        ({"xyzt_units": 5}, "unit of length 5"),
        ({"sform_code": 77}, "sform_code is 77"),
        ({"qform_code": -3}, "qform_code is -3"),
    ],
)
def test_what_has_no_meaning_is_said(fields, says):
    matrix, notes = _grid(header(**fields))
    np.testing.assert_allclose(matrix, affine(), atol=1e-4)
    assert any(says in note for note in notes)


def test_qfac_of_0_means_1_in_a_qform_alone():
    matrix, notes = _grid(header(sform=0, pixdim={0: 0.0}))
    np.testing.assert_allclose(matrix, affine(), atol=1e-4)
    assert notes == []


@pytest.mark.parametrize(("units", "factor"), [(1, 1e-3), (3, 1e3)])
@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 1), (0, 0)])
def test_units_are_converted(units, factor, sform, qform):
    stated = affine()
    stated[:3] *= factor
    matrix, notes = _grid(header(stated, sform, qform, xyzt_units=units + 8))
    np.testing.assert_allclose(np.linalg.norm(matrix[:3, :3], axis=0), (2, 2.5, 3), rtol=1e-5)
    if sform or qform:
        np.testing.assert_allclose(matrix, affine(), rtol=1e-5, atol=1e-4)
    assert "converted to mm" in notes[0]


def test_a_shear_is_said():
    sheared = affine()
    sheared[1, 2] = 3 * np.tan(np.deg2rad(15))
    matrix, notes = _grid(header(sheared, qform=0))
    np.testing.assert_allclose(matrix, sheared, atol=1e-5)
    assert notes == ["the grid is sheared by 15.0 degrees"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sform": 0},
        {"qform": 0},
        {"sform": 0, "qform": 0},
        {"xyzt_units": 1},
        {"qoffset_x": 99.0},
        {"srow_x": np.nan},
    ],
)
def test_results_carry_the_header_form_of_the_scan(fields, tmp_path):
    head = header(**fields)
    form = HeaderForm.of(head)
    save_nifti(tmp_path / "a.nii.gz", volume(), np.eye(4), np.uint8, form.to_array(), "monai_cuas lesion mask")
    written = nib.load(tmp_path / "a.nii.gz").header
    for name in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_d", "qoffset_x"):
        np.testing.assert_array_equal(written[name], head[name], err_msg=name)
    np.testing.assert_array_equal(written["pixdim"][:4], head["pixdim"][:4])
    assert int(written["xyzt_units"]) == int(head["xyzt_units"])
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), volume().astype(np.uint8))
