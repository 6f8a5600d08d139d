# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Whatever way a scan is written down, the mask of the changed file is the changed mask: properties, by hypothesis."""

from __future__ import annotations

import tempfile
from functools import cache, lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import apply_orientation, inv_ornt_aff

from monai_cuas.handlers import AnomalyResultSaver
from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing
from monai_cuas.utils import ScanError
from tests.transforms.test_background import AFFINE, _scan

hypothesis = pytest.importorskip("hypothesis", reason="needs monai_cuas[dev]")
st = hypothesis.strategies

PRE = AnomalyPreprocessing(image_size=32)
POST = AnomalyPostprocessing(PRE, rate=None, threshold=0.9)
SETTINGS = hypothesis.settings(max_examples=50, deadline=None, derandomize=True, database=None)

ORIENTATIONS = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3)).map(
    lambda drawn: np.array(list(zip(*drawn)), dtype=float)
)
ANGLES = st.tuples(*[st.floats(-20, 20, allow_nan=False)] * 3)
SHIFTS = st.tuples(*[st.floats(-300, 300, allow_nan=False)] * 3)
FORMS = st.sampled_from(["both", "sform", "qform", "metres", "microns", "nifti2", "pair", "mgz", "nrrd", "mha", "none"])
PADDINGS = st.tuples(*[st.tuples(st.integers(-2, 7), st.integers(-2, 7))] * 3)


@lru_cache(maxsize=1)
def _base() -> np.ndarray:
    """Whole numbers up to 2000 on a background of 0, with a margin of more than two voxels."""
    return np.pad(np.round(_scan()[0]).astype(np.int16), 2)


def _rotation(angles) -> np.ndarray:
    turn = np.eye(4)
    for axis, degrees in enumerate(angles):
        a, b = [k for k in range(3) if k != axis]
        one = np.eye(4)
        one[[a, a, b, b], [a, b, a, b]] = [np.cos(t := np.deg2rad(degrees)), -np.sin(t), np.sin(t), np.cos(t)]
        turn = one @ turn
    return turn


def _write(folder: Path, data: np.ndarray, affine: np.ndarray, form: str) -> Path:
    if form in ("nrrd", "mha"):
        lps = np.diag([-1, -1, 1, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        sitk.WriteImage(image, str(folder / f"a.{form}"))
        return folder / f"a.{form}"
    if form == "mgz":
        nib.save(nib.MGHImage(data.astype(np.float32), affine), folder / "a.mgz")
        return folder / "a.mgz"
    kinds = {"nifti2": nib.Nifti2Image, "pair": nib.Nifti1Pair}
    stated = affine.copy()
    stated[:3] *= {"metres": 1e-3, "microns": 1e3}.get(form, 1)
    image = kinds.get(form, nib.Nifti1Image)(data, stated)
    image.set_sform(stated, int(form not in ("qform", "none")))
    image.set_qform(stated, int(form not in ("sform", "none")))
    image.header.set_xyzt_units({"metres": "meter", "microns": "micron"}.get(form, "mm"), "sec")
    path = folder / ("a.img" if form == "pair" else "a.nii.gz")
    nib.save(image, path)
    return path


@cache
def _mask_of_base() -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        return np.asarray(_result(_write(Path(folder), _base(), AFFINE, "both"), Path(folder))[0].dataobj)


def _result(path: Path, folder: Path):
    """Written mask and map: the map is the preprocessed image itself, brought back to the scan's grid."""
    item = PRE({"image": str(path), "name": "a"})
    item = POST({**item, "pred": item["image"]})
    row = AnomalyResultSaver(folder / "out", overlay=False)
    (folder / "out").mkdir()
    row = row.save(item)
    return nib.load(folder / "out" / "a_mask.nii.gz"), nib.load(folder / "out" / "a_anomaly.nii.gz"), row


def _padded(array: np.ndarray, padding) -> tuple[np.ndarray, np.ndarray]:
    """Padded with 0 or, where negative, cut (of the background alone); and where the old origin lies in the new."""
    grown = np.pad(array, [(max(a, 0), max(b, 0)) for a, b in padding])
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(padding, grown.shape))
    return grown[cut], np.array([-a for a, _ in padding], dtype=float)


@SETTINGS
@hypothesis.given(orientation=ORIENTATIONS, angles=ANGLES, shift=SHIFTS, form=FORMS, padding=PADDINGS)
def test_the_mask_of_the_changed_file_is_the_changed_mask(orientation, angles, shift, form, padding):
    data, origin = _padded(_base(), padding)
    affine = _rotation(angles) @ AFFINE
    affine[:3, 3] = affine[:3, :3] @ origin + shift
    turned = apply_orientation(data, orientation)
    affine = affine @ inv_ornt_aff(orientation, data.shape)
    expected = apply_orientation(_padded(_mask_of_base(), padding)[0], orientation)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = _write(folder, turned, affine, form)
        mask, anomaly, row = _result(path, folder)
        np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
        assert expected.sum() > 100
        for image in (mask, anomaly):
            if form in ("nrrd", "mha", "mgz", "nifti2"):
                # Results are NIfTI-1, whose numbers are of single precision.
                np.testing.assert_allclose(image.affine, affine, atol=1e-3)
            else:
                theirs = nib.load(path)
                np.testing.assert_array_equal(image.affine, theirs.affine)
                for key in ("sform_code", "qform_code", "srow_x", "srow_z", "quatern_c", "qoffset_y", "xyzt_units"):
                    np.testing.assert_array_equal(image.header[key], theirs.header[key].astype(image.header[key].dtype))
        said = {"none": "no orientation", "metres": "metres", "microns": "microns"}.get(form, "")
        assert said in row["notes"]
        assert bool(row["notes"]) == bool(said)
        assert row["lesion_volume_ml"] == pytest.approx(expected.sum() * 0.096, rel=1e-3)


@SETTINGS
@hypothesis.given(
    dtype=st.sampled_from(["u2", "i2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"]),
    power=st.integers(-12, 12),
    offset=st.sampled_from([0, 64, 1024]),
)
def test_type_and_scale_do_not_matter(dtype, power, offset):
    kind = np.dtype(dtype).kind
    data = _base().astype(np.float64) + offset
    if kind == "f":
        data *= 2.0**power
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = nib.Nifti1Image(data.astype(dtype), AFFINE, dtype=dtype)
        if kind in "iu":
            image.header.set_slope_inter(2.0**power, -(2.0**power) * offset)
        nib.save(image, folder / "a.nii.gz")
        mask, _, row = _result(folder / "a.nii.gz", folder)
        different = int((np.asarray(mask.dataobj) != _mask_of_base()).sum())
        # Single precision rounds the landmarks anew for each scale.
        assert different <= 3
        assert row["notes"] == ""


@SETTINGS
@hypothesis.given(
    shift=st.tuples(*[st.floats(-50, 50, allow_nan=False)] * 3), angle=st.floats(-170, 170, allow_nan=False)
)
def test_matrices_that_disagree_are_said_or_refused(shift, angle):
    other = _rotation((0, 0, angle)) @ AFFINE
    other[:3, 3] += shift
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in _base().shape], [1], indexing="ij")).reshape(4, -1)
    apart = np.linalg.norm(((other - AFFINE) @ corners)[:3], axis=0).max()
    hypothesis.assume(not 0.39 < apart < 0.41)
    hypothesis.assume(not 44.9 < abs(angle) < 45.1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = nib.Nifti1Image(_base(), AFFINE)
        image.set_sform(AFFINE, 1)
        image.set_qform(other, 1)
        nib.save(image, folder / "a.nii.gz")
        if abs(angle) > 45:
            with pytest.raises(ScanError, match=r"a\.nii\.gz: its header contradicts itself"):
                _result(folder / "a.nii.gz", folder)
            return
        mask, _, row = _result(folder / "a.nii.gz", folder)
        np.testing.assert_array_equal(np.asarray(mask.dataobj), _mask_of_base())
        assert ("the sform counts" in row["notes"]) == (apart > 0.4)
