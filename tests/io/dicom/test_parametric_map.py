# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

import highdicom

from monai_cuas.io.dicom import SegmentationTerms, find_series, make_parametric_map, map_terms, read_series
from monai_cuas.io.nifti import save_nifti
from monai_cuas.utils import ScanError
from tests import dicom_files as made
from tests.dicom_seg import by_dcmqi

SHAPE = (18, 14, 12)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine()
SCORE = np.random.default_rng(0).exponential(1, SHAPE).astype(np.float32)


def _write(datasets, folder, score=SCORE):
    made.save(datasets, folder / "series")
    (series,) = find_series(folder / "series").series
    made_map = make_parametric_map(series, score, read_series(series).affine, content="made for a test")
    made_map.save_as(folder / "map.dcm")
    return folder / "map.dcm"


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_values_lie_at_the_images_they_belong_to(tmp_path, modality):
    datasets = made.slices(IMAGE, AFFINE, modality, True, [(1.0, -1024.0)])
    file = _write(datasets, tmp_path)
    ds = pydicom.dcmread(file)
    frames = np.frombuffer(ds.FloatPixelData, "<f4").reshape(-1, ds.Rows, ds.Columns)
    assert len(frames) == SHAPE[2]
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        (z,) = [k for k, d in enumerate(datasets) if d.SOPInstanceUID == reference.ReferencedSOPInstanceUID]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, datasets[z].ImagePositionPatient, atol=1e-4)
        np.testing.assert_array_equal(frame, SCORE[:, :, z].T)


def test_dcmqi_reads_it(tmp_path):
    file = _write(made.enhanced(IMAGE, AFFINE, np.arange(SHAPE[2])[::-1]), tmp_path)
    theirs, affine = by_dcmqi(file, tmp_path / "dcmqi", "paramap2itkimage")
    np.testing.assert_allclose(theirs, SCORE, rtol=1e-6)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)


def test_nan_becomes_zero_and_another_grid_is_refused(tmp_path):
    score = SCORE.copy()
    score[0, 0, 0] = np.nan
    ds = pydicom.dcmread(_write(made.slices(IMAGE, AFFINE), tmp_path, score))
    assert np.isfinite(np.frombuffer(ds.FloatPixelData, "<f4")).all()
    (series,) = find_series(tmp_path / "series").series
    with pytest.raises(ScanError, match="not on its grid"):
        make_parametric_map(series, SCORE[1:], AFFINE)


def test_a_map_of_zeros(tmp_path):
    ds = pydicom.dcmread(_write(made.slices(IMAGE, AFFINE), tmp_path, np.zeros(SHAPE)))
    assert not np.frombuffer(ds.FloatPixelData, "<f4").any()
    assert ds.NumberOfFrames == SHAPE[2]


@pytest.mark.parametrize("turned", [False, True])
def test_it_lies_where_the_nifti_map_lies(tmp_path, turned):
    """Each voxel of the NIfTI map, where SimpleITK places it, has its value there in the DICOM map by highdicom."""
    datasets = made.slices(IMAGE, AFFINE)
    file = _write(datasets[::-1] if turned else datasets, tmp_path)
    (series,) = find_series(tmp_path / "series").series
    save_nifti(tmp_path / "map.nii.gz", SCORE, read_series(series).affine, np.float32)
    nifti = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    volume = highdicom.imread(file).get_volume()
    np.testing.assert_allclose(sorted(volume.spacing), sorted(nifti.GetSpacing()), atol=1e-4)
    ijk = np.argwhere(np.ones(SHAPE, bool))
    points = np.stack([nifti.TransformIndexToPhysicalPoint(index.tolist()) for index in ijk])
    places = volume.map_reference_to_indices(points)
    np.testing.assert_allclose(places, np.rint(places), atol=0.01)
    there = volume.array[tuple(np.rint(places).astype(int).T)]
    np.testing.assert_array_equal(there.reshape(SHAPE), sitk.GetArrayFromImage(nifti).T)


def test_a_map_is_a_series_of_its_own_beside_the_segmentation():
    terms = SegmentationTerms(serial_number="a device")
    beside = map_terms(terms)
    assert beside.series_number not in (terms.series_number, 991)  # 991: a reader's
    assert beside.series_description != terms.series_description
    assert beside.serial_number == "a device"
