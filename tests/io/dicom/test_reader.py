# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging

import numpy as np
import pytest
import SimpleITK as sitk
from monai.transforms import LoadImage

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.io.dicom import DicomSeriesReader, find_series
from monai_cuas.transforms import LoadScand
from monai_cuas.utils import ScanError
from tests import dicom_files as made

IMAGE, AFFINE = made.brain(), made.oblique_affine()


def _read(path, accept=()):
    reader = DicomSeriesReader(accept)
    return reader.get_data(reader.read(path))


def _simpleitk(folder):
    """The same series by GDCM."""
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ lps


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize("sagittal", [True, False])
def test_series_of_shuffled_files_is_the_volume_it_was_made_of(tmp_path, suffix, sagittal):
    affine = made.oblique_affine(sagittal=sagittal)
    folder = made.save(made.slices(IMAGE, affine), tmp_path, suffix)
    array, meta = _read(folder)
    np.testing.assert_array_equal(array, IMAGE)
    np.testing.assert_allclose(meta["affine"], affine, atol=1e-5)
    assert meta["notes"] == ""
    theirs, their_affine = _simpleitk(folder)
    np.testing.assert_array_equal(array, theirs)
    np.testing.assert_allclose(meta["affine"], their_affine, atol=1e-5)


RESCALES = {
    "CT signed": ("CT", True, [(1.0, -1024.0)]),
    "CT unsigned": ("CT", False, [(1.0, -1024.0)]),
    "CT fraction": ("CT", True, [(0.5, 3.5)]),
    "PET by slice": ("PT", False, [(0.11 + 0.07 * z, 0.0) for z in range(20)]),
    "MR by slice": ("MR", False, [(0.5 + 0.1 * z, -float(z)) for z in range(20)]),
}


@pytest.mark.parametrize(("modality", "signed", "rescale"), RESCALES.values(), ids=RESCALES.keys())
def test_rescaling_of_each_slice(tmp_path, modality, signed, rescale):
    folder = made.save(made.slices(IMAGE, AFFINE, modality, signed, rescale), tmp_path)
    array, _ = _read(folder)
    assert array.dtype == np.float32
    slopes = np.asarray([rescale[z % len(rescale)][0] for z in range(IMAGE.shape[2])])
    assert (np.abs(array - IMAGE) <= 0.5 * slopes + 1e-3).all()
    np.testing.assert_allclose(array, _simpleitk(folder)[0], atol=1e-3)


def test_enhanced_multi_frame_with_frames_in_any_order(tmp_path):
    order = np.random.default_rng(1).permutation(IMAGE.shape[2])
    rescale = [(0.5 + 0.1 * z, -float(z)) for z in range(20)]
    made.save(made.enhanced(IMAGE, AFFINE, order, rescale), tmp_path)
    for path in (tmp_path, next(tmp_path.iterdir())):
        array, meta = _read(path)
        assert np.abs(array - IMAGE).max() <= 0.5 * 2.4 + 1e-3
        np.testing.assert_allclose(meta["affine"], AFFINE, atol=1e-5)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"], ids=["RLE", "JPEG-LS"])
def test_compressed(tmp_path, syntax):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.compress(syntax, generate_instance_uid=False)
    array, _ = _read(made.save(datasets, tmp_path))
    np.testing.assert_array_equal(array, IMAGE)


def test_duplicates_are_dropped_and_noted(tmp_path, caplog):
    datasets = made.slices(IMAGE, AFFINE)
    made.save([*datasets, datasets[3], made.again(datasets[7])], tmp_path)
    with caplog.at_level(logging.WARNING):
        image = LoadScand("image")({"image": str(tmp_path)})["image"]
    np.testing.assert_array_equal(image[0].numpy(), IMAGE)
    assert "2 duplicate image(s) dropped" in caplog.text
    assert "2 duplicate" in image.meta["notes"]


def _other_echo():
    datasets = made.slices(IMAGE, AFFINE)
    echoes = made.slices(IMAGE // 2, AFFINE, series_uid=datasets[0].SeriesInstanceUID)
    for ds in echoes:
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = datasets[0].StudyInstanceUID, datasets[0].FrameOfReferenceUID
    return [*datasets, *echoes]


def _moved(vector, of=5):
    datasets = made.slices(IMAGE, AFFINE)
    direction = np.diag([-1, -1, 1]) @ AFFINE[:3, :3] @ np.asarray(vector)
    datasets[of].ImagePositionPatient = [float(v) for v in datasets[of].ImagePositionPatient + direction]
    return datasets


def _changed(keyword, value, of=5):
    datasets = made.slices(IMAGE, AFFINE)
    setattr(datasets[of], keyword, value)
    return datasets


def _truncated():
    datasets = made.slices(IMAGE, AFFINE)
    datasets[4].PixelData = datasets[4].PixelData[:100]
    return datasets


def _tilted(slope=0.2):
    """Slices shifted along the columns in proportion to their height."""
    affine = AFFINE.copy()
    affine[:3, 2] += slope * 5.0 * AFFINE[:3, 1] / 2.5
    return made.slices(IMAGE, affine)


REFUSED = {
    "one missing": (
        lambda: [d for k, d in enumerate(made.slices(IMAGE, AFFINE)) if k != 9],
        "1 of 20 slices are missing, the first after slice 9 .a gap of 10.00",
    ),
    "three missing": (
        lambda: [d for k, d in enumerate(made.slices(IMAGE, AFFINE)) if k not in (4, 5, 9)],
        "3 of 20 slices are missing, the first after slice 4",
    ),
    "uneven": (lambda: _moved((0, 0, 0.3)), "unevenly spaced, 3.50 to 6.50 mm"),
    "shifted": (lambda: _moved((1, 0, 0)), "no straight stack"),
    "tilt": (_tilted, "tilted by 11.3 degrees"),
    "echoes": (_other_echo, "different images at one position"),
    "size": (lambda: _changed("PixelSpacing", [2.5, 2.1]), "differ in size or pixel spacing"),
    "patient": (lambda: _changed("PatientID", "someone else"), "do not agree in patient"),
    "position": (lambda: _changed("ImagePositionPatient", None), "state no position"),
    "truncated": (_truncated, "cannot be read"),
}


@pytest.mark.parametrize(("datasets", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_regular_stack_is_refused_in_one_sentence(tmp_path, datasets, words):
    made.save(datasets(), tmp_path)
    with pytest.raises(ScanError, match=words) as caught:
        LoadScand("image")({"image": str(tmp_path)})
    text = str(caught.value)
    assert "\n" not in text
    assert not any(secret in text for secret in made.IDENTITY)


def test_missing_slices_accepted_keep_the_others_in_their_place(tmp_path):
    made.save([d for k, d in enumerate(made.slices(IMAGE, AFFINE)) if k not in (4, 5, 9)], tmp_path)
    array, meta = _read(tmp_path, ["missing_slices"])
    np.testing.assert_allclose(meta["affine"], AFFINE, atol=1e-5)
    kept = [k for k in range(20) if k not in (4, 5, 9)]
    np.testing.assert_allclose(array[..., kept], IMAGE[..., kept], atol=1e-3)
    np.testing.assert_allclose(array[..., 9], (IMAGE[..., 8] + IMAGE[..., 10]) / 2, atol=1e-3)
    assert "3 of 20 slices are missing" in meta["notes"]


def test_uneven_spacing_accepted_is_interpolated(tmp_path):
    ramp = np.broadcast_to(100 * np.arange(1, 21), (6, 7, 20)).copy()
    datasets = made.slices(ramp, AFFINE)
    step = np.diag([-1, -1, 1]) @ AFFINE[:3, 2]
    datasets[5].ImagePositionPatient = [float(v) for v in datasets[5].ImagePositionPatient + 0.4 * step]
    datasets[5].PixelData = np.full((7, 6), 640, dtype="<u2").tobytes()
    array, meta = _read(made.save(datasets, tmp_path), ["uneven_spacing"])
    np.testing.assert_allclose(array, ramp, atol=0.01)  # the ramp is linear in space
    np.testing.assert_allclose(meta["affine"], AFFINE, atol=1e-5)


def test_gantry_tilt_accepted_is_in_the_affine(tmp_path):
    made.save(_tilted(), tmp_path)
    array, meta = _read(tmp_path, ["gantry_tilt"])
    np.testing.assert_array_equal(array, IMAGE)
    expected = AFFINE.copy()
    expected[:3, 2] += 0.2 * 5.0 * AFFINE[:3, 1] / 2.5
    np.testing.assert_allclose(meta["affine"], expected, atol=1e-5)
    assert "tilted by 11.3 degrees" in meta["notes"]


def test_rounded_positions_pass(tmp_path):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.ImagePositionPatient = [round(float(v), 1) for v in ds.ImagePositionPatient]
    array, meta = _read(made.save(datasets, tmp_path))
    np.testing.assert_array_equal(array, IMAGE)
    np.testing.assert_allclose(meta["affine"], AFFINE, atol=0.06)


def test_only_geometry_goes_into_the_metadata(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path)
    image = LoadScand("image")({"image": str(tmp_path)})["image"]
    assert not any(secret in repr(image.meta) for secret in made.IDENTITY)
    assert not any(secret in repr(find_series(tmp_path)) for secret in made.IDENTITY)


def test_series_are_channels_when_listed(tmp_path):
    for number in (1, 2):
        made.save(made.slices(IMAGE * number, AFFINE), tmp_path / str(number))
    image = LoadScand("image")({"image": [str(tmp_path / "1"), str(tmp_path / "2")]})["image"]
    np.testing.assert_array_equal(image[1].numpy(), 2 * IMAGE)


def test_reader_works_in_monais_own_loader(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path)
    (series,) = find_series(tmp_path).series
    image = LoadImage(reader=DicomSeriesReader())(series.path)
    np.testing.assert_array_equal(image.numpy(), IMAGE)


def test_unknown_irregularity():
    with pytest.raises(ValueError, match="missing_slices"):
        DicomSeriesReader(accept=["tilt"])
