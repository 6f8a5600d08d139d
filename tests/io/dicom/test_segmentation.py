# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest
from monai.data import PydicomReader
from monai.transforms import LoadImage

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.io.dicom import SegmentationTerms, find_series, make_segmentation, read_series
from monai_cuas.utils import ScanError
from tests import dicom_files as made
from tests.dicom_seg import by_dcmqi, by_hand

SHAPE = (18, 14, 12)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine()
MASK = np.zeros(SHAPE, dtype=bool)
MASK[3:7, 2:5, 4:6] = MASK[12, 9, 10] = MASK[0, 0, 0] = True


def _write(datasets, folder, mask=MASK, accept=(), **terms):
    made.save(datasets, folder / "series")
    (series,) = find_series(folder / "series").series
    volume = read_series(series, accept)
    segmentation = make_segmentation(series, mask, volume.affine, SegmentationTerms(**terms), "made for a test")
    segmentation.save_as(folder / "seg.dcm")
    return folder / "seg.dcm", volume


def _classic(modality="MR", signed=False, rescale=None):
    return lambda: made.slices(IMAGE, AFFINE, modality, signed, rescale)


SERIES = {
    "MR": _classic(),
    "CT": _classic("CT", True, [(1.0, -1024.0)]),
    "PET": _classic("PT", False, [(0.5 + 0.1 * z, 0.0) for z in range(12)]),
}


@pytest.mark.parametrize("mask", [MASK, MASK & False], ids=["lesion", "healthy"])
@pytest.mark.parametrize("datasets", SERIES.values(), ids=SERIES.keys())
def test_frames_are_the_slices_of_the_mask(tmp_path, datasets, mask):
    datasets = datasets()
    file, volume = _write(datasets, tmp_path, mask)
    frames = by_hand(file, datasets)
    assert len(frames) == SHAPE[2]
    for z, ds in enumerate(datasets):
        np.testing.assert_array_equal(frames[ds.SOPInstanceUID, 0], mask[:, :, z].T)
    theirs, affine = by_dcmqi(file, tmp_path / "dcmqi")
    np.testing.assert_array_equal(theirs > 0, mask)
    np.testing.assert_allclose(affine, volume.affine, atol=1e-4)


@pytest.mark.parametrize("mask", [MASK, MASK & False], ids=["lesion", "healthy"])
def test_enhanced_multi_frame(tmp_path, mask):
    order = np.random.default_rng(1).permutation(SHAPE[2])
    source = made.enhanced(IMAGE, AFFINE, order)
    file, volume = _write(source, tmp_path, mask)
    frames = by_hand(file, [source])
    for number, z in enumerate(order):
        np.testing.assert_array_equal(frames[source.SOPInstanceUID, number], mask[:, :, z].T)
    theirs, affine = by_dcmqi(file, tmp_path / "dcmqi")
    np.testing.assert_array_equal(theirs > 0, mask)
    np.testing.assert_allclose(affine, volume.affine, atol=1e-4)


def test_monais_own_reader_reads_it(tmp_path):
    file, _ = _write(made.slices(IMAGE, AFFINE), tmp_path)
    volume = LoadImage(reader=PydicomReader())(file)
    found = np.argwhere(volume.numpy()[..., 0] > 0) @ volume.affine.numpy()[:3, :3].T + volume.affine.numpy()[:3, 3]
    expected = np.argwhere(MASK) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    # its frames may be in another order, so the points are
    nearest = np.linalg.norm(found[:, None] - expected[None], axis=2)
    assert len(found) == len(expected)
    assert nearest.min(axis=0).max() < 1e-3
    assert nearest.min(axis=1).max() < 1e-3


def test_what_it_says_of_itself(tmp_path):
    datasets = made.slices(IMAGE, AFFINE)
    terms = {"label": "Odd spot", "parameters": {"rate": 0.01}, "serial_number": "abc", "series_number": 12}
    ds = pydicom.dcmread(_write(datasets, tmp_path, **terms)[0])
    segment = ds.SegmentSequence[0]
    assert (ds.Modality, ds.SegmentationType, ds.SeriesNumber, ds.SOPClassUID.name) == (
        "SEG", "BINARY", 12, "Segmentation Storage"
    )  # fmt: skip
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("Odd spot", "AUTOMATIC")
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
    assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert "rate=0.01" in algorithm.AlgorithmParameters
    assert (ds.ManufacturerModelName, ds.DeviceSerialNumber) == ("monai_cuas", "abc")
    # the archive finds patient, study and space by these
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert ds[keyword].value == datasets[0][keyword].value
    assert ds.SeriesInstanceUID != datasets[0].SeriesInstanceUID
    (referred,) = ds.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == datasets[0].SeriesInstanceUID
    assert len(referred.ReferencedInstanceSequence) == SHAPE[2]


def test_duplicates_and_missing_slices_refer_to_the_images_that_are_there(tmp_path):
    datasets = made.slices(IMAGE, AFFINE)
    there = [ds for z, ds in enumerate(datasets) if z not in (5, 8)]
    file, _ = _write([*there, made.again(there[2])], tmp_path, accept=["missing_slices"])
    frames = by_hand(file, [*there, *datasets])
    assert len(frames) == len(there)
    # of a duplicate either may stand for both
    found = {uid: frame for (uid, _), frame in frames.items()}
    for z, ds in enumerate(datasets):
        if z not in (2, 5, 8):
            np.testing.assert_array_equal(found[ds.SOPInstanceUID], MASK[:, :, z].T)


def test_tilted_gantry(tmp_path):
    affine = AFFINE.copy()
    affine[:3, 2] += 0.4 * AFFINE[:3, 1]
    datasets = made.slices(IMAGE, affine)
    file, volume = _write(datasets, tmp_path, accept=["gantry_tilt"])
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    for (uid, _), frame in by_hand(file, datasets).items():
        (z,) = [k for k, ds in enumerate(datasets) if ds.SOPInstanceUID == uid]
        np.testing.assert_array_equal(frame, MASK[:, :, z].T)


def test_anonymised_to_the_bone(tmp_path, recwarn):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
            delattr(ds, keyword)
    file, _ = _write(datasets, tmp_path)
    assert not pydicom.dcmread(file).PatientName
    assert not [w for w in recwarn if "pydicom" in str(w.filename) or "highdicom" in str(w.filename)]


def test_malformed_identity_is_passed_on_unseen(tmp_path, recwarn, caplog):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.PatientName, ds.PatientID, ds.PatientSex = "ZYXNAME", made.PATIENT_ID * 9, "ZYXSEX"
        ds.PatientBirthDate = "born ZYX"
    made.save(datasets, tmp_path / "series")
    (series,) = find_series(tmp_path / "series").series
    recwarn.clear()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        segmentation = make_segmentation(series, MASK, AFFINE)
    assert segmentation.PatientName == "ZYXNAME"
    assert segmentation.PatientID == made.PATIENT_ID * 9
    assert not segmentation.PatientBirthDate
    assert "ZYX" not in caplog.text + "".join(str(w.message) for w in recwarn)


def test_refusals(tmp_path):
    datasets = made.slices(IMAGE, AFFINE)
    made.save(datasets, tmp_path / "a")
    (series,) = find_series(tmp_path / "a").series
    for mask, affine in ((MASK[1:], AFFINE), (MASK, np.eye(4))):
        with pytest.raises(ScanError, match="not on its grid"):
            make_segmentation(series, mask, affine)
    for ds in datasets:
        del ds.FrameOfReferenceUID
    made.save(datasets, tmp_path / "b")
    (series,) = find_series(tmp_path / "b").series
    with pytest.raises(ScanError, match="no DICOM segmentation can refer to its images"):
        make_segmentation(series, MASK, AFFINE)
