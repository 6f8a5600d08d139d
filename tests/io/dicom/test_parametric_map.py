# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.io.dicom import find_series, make_parametric_map, read_series
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
