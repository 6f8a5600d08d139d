# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.io.dicom import SegmentationTerms, find_series, make_painted, map_terms, painted_terms, read_series
from monai_cuas.utils import ScanError
from tests import dicom_files as made

# an odd number of bytes in all
SHAPE = (17, 13, 11)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine()
COLOURS = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def _write(datasets, folder):
    """The files, and what was read of each again."""
    made.save(datasets, folder / "series")
    (series,) = find_series(folder / "series").series
    for number, image in enumerate(make_painted(series, COLOURS, read_series(series).affine)):
        image.save_as(folder / f"painted-{number:02d}.dcm", enforce_file_format=True)
    files = sorted(folder.glob("painted-*.dcm"))
    return files, [pydicom.dcmread(file) for file in files]


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_each_image_lies_where_its_image_of_the_scan_lies(tmp_path, modality):
    datasets = made.slices(IMAGE, AFFINE, modality, True, [(1.0, -1024.0)])
    _, images = _write(datasets[::-1], tmp_path)
    assert len(images) == SHAPE[2]
    for ds in images:
        (reference,) = ds.SourceImageSequence
        (z,) = [k for k, d in enumerate(datasets) if d.SOPInstanceUID == reference.ReferencedSOPInstanceUID]
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            np.testing.assert_allclose(ds[name].value, datasets[z][name].value, atol=1e-4)
        np.testing.assert_array_equal(ds.pixel_array, COLOURS[:, :, z].swapaxes(0, 1))
        assert ds.InstanceNumber == datasets[z].InstanceNumber
        assert (ds.StudyInstanceUID, ds.PatientID) == (datasets[0].StudyInstanceUID, made.PATIENT_ID)
        assert ds.FrameOfReferenceUID == datasets[0].FrameOfReferenceUID
        assert ds.Modality not in ("MR", "CT")  # or it would be listed among the scans
    assert len({ds.SeriesInstanceUID for ds in images}) == 1
    assert len({ds.SOPInstanceUID for ds in images}) == len(images)


def test_frames_of_a_multi_frame_image(tmp_path):
    source = made.enhanced(IMAGE, AFFINE, np.arange(SHAPE[2])[::-1])
    _, images = _write(source, tmp_path)
    assert len(images) == SHAPE[2]
    for ds in images:
        (reference,) = ds.SourceImageSequence
        theirs = source.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
        position = theirs.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(ds.ImagePositionPatient, position, atol=1e-4)
        z = SHAPE[2] - reference.ReferencedFrameNumber
        np.testing.assert_array_equal(ds.pixel_array, COLOURS[:, :, z].swapaxes(0, 1))


def test_simpleitk_places_it_where_the_scan_is(tmp_path):
    """A reader that shares no code with the writer."""
    _write(made.slices(IMAGE, AFFINE), tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    assert image.GetSize() == SHAPE
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    for index in ((0, 0, 0), (SHAPE[0] - 1, 0, 0), (0, SHAPE[1] - 1, 3), (2, 3, SHAPE[2] - 1)):
        point = image.TransformIndexToPhysicalPoint(index)
        voxel = np.rint(np.linalg.solve(lps, [*point, 1])[:3]).astype(int)
        np.testing.assert_allclose((lps @ [*voxel, 1])[:3], point, atol=0.01)
        assert image.GetPixel(*index) == tuple(COLOURS[tuple(voxel)])


def test_a_validator_finds_no_error(tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs Debian's package dicom3tools")
    (file, *_), _ = _write(made.slices(IMAGE, AFFINE), tmp_path)
    said = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True)
    assert "SCImage" in said.stdout + said.stderr
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


def test_another_grid_or_no_colours_is_refused(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path)
    (series,) = find_series(tmp_path).series
    with pytest.raises(ScanError, match="not on its grid"):
        make_painted(series, COLOURS[1:], AFFINE)
    for wrong in (COLOURS[..., 0], COLOURS.astype(float), COLOURS[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            make_painted(series, wrong, AFFINE)


def test_it_is_a_series_of_its_own_and_says_its_colours():
    terms = SegmentationTerms(serial_number="a device")
    beside = painted_terms(terms)
    assert beside.series_number not in (terms.series_number, 991, map_terms(terms).series_number)  # 991: a reader's
    assert "red 1 in 10" in beside.series_description
    assert len(beside.series_description) <= 64
    assert beside.serial_number == "a device"
