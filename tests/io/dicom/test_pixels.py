# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from monai_cuas.io.dicom import find_series, make_segmentation, read_series
from monai_cuas.utils import ScanError
from tests import dicom_files as made

IMAGE, AFFINE = made.brain(), made.oblique_affine()


def _layout(values, allocated, stored, high, signed, above=0):
    """Classic slices whose pixels lie in other bits; ``above``: what stands in the bits above (None: the sign)."""
    datasets = made.slices(np.zeros_like(values), AFFINE)
    for z, ds in enumerate(datasets):
        number = values[:, :, z].T.astype(np.int64)
        word = (number & ((1 << stored) - 1)) << (high + 1 - stored)
        top = allocated - high - 1
        spill = np.where(number < 0, (1 << top) - 1, 0) if above is None else above & ((1 << top) - 1)
        word |= spill << (high + 1)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, high, int(signed)
        ds.PixelData = word.astype(f"<u{allocated // 8}").tobytes()
        if len(ds.PixelData) % 2:
            ds.PixelData += b"\0"
    return datasets


def _volume(datasets, folder):
    index = find_series(made.save(datasets, folder))
    assert len(index.series) == 1, index.left_out
    return read_series(index.series[0])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("above", [0, None, 5])
@pytest.mark.parametrize(
    ("allocated", "stored", "high"),
    [(16, 12, 11), (16, 10, 9), (16, 16, 15), (16, 12, 15), (16, 12, 13), (8, 7, 6), (8, 8, 7), (32, 20, 19)],
)
def test_every_layout_of_bits(tmp_path, allocated, stored, high, signed, above):
    largest = min(1 << (stored - signed), 1000)
    values = np.where(IMAGE > 0, IMAGE * (largest - 1) // 1000, 0)
    if signed:
        values = values - np.where(IMAGE > 0, largest // 2, largest - 1)
    volume = _volume(_layout(values, allocated, stored, high, signed, above), tmp_path)
    np.testing.assert_array_equal(volume.array, values)
    noted = above == 5 and high < allocated - 1
    assert volume.notes == (("bits above BitsStored were set and have been cleared",) if noted else ())


@pytest.mark.parametrize(("stored", "high"), [(0, 11), (17, 16), (12, 16), (12, 5)])
def test_bits_that_contradict_each_other_are_refused(tmp_path, stored, high):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.BitsStored, ds.HighBit = stored, high
    with pytest.raises(ScanError, match="cannot be read"):
        _volume(datasets, tmp_path)


@pytest.mark.parametrize(
    ("tags", "slope", "intercept"),
    [
        ({"RescaleSlope": "", "RescaleIntercept": ""}, 1, 0),
        ({"RescaleSlope": "2", "RescaleIntercept": ""}, 2, 0),
        ({"RescaleIntercept": "-7"}, 1, -7),
        ({"RescaleSlope": "0.25", "RescaleIntercept": "3.5"}, 0.25, 3.5),
    ],
)
def test_rescaling_that_is_stated_in_part(tmp_path, tags, slope, intercept):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
    np.testing.assert_array_equal(_volume(datasets, tmp_path).array, IMAGE * slope + intercept)


def test_modality_lut(tmp_path):
    datasets = made.slices(np.minimum(IMAGE // 4, 255), AFFINE)
    table = (np.arange(256) ** 1.2).astype(np.uint16)
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType, lut.LUTData = [256, 0, 16], "US", table.tobytes()
    for ds in datasets:
        ds.ModalityLUTSequence = Sequence([lut])
    np.testing.assert_array_equal(_volume(datasets, tmp_path).array, table[np.minimum(IMAGE // 4, 255)])


def _private_index(private: bool):
    ds = made.enhanced(IMAGE, AFFINE, rescale=[(0.5, 3.0), (2.0, -1.0)])
    if private:
        index = Dataset()
        index.DimensionOrganizationUID = ds.DimensionIndexSequence[0].DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x2005106E, 0x2005140F
        ds.DimensionIndexSequence.append(index)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.FrameContentSequence[0].DimensionIndexValues = [
                *[frame.FrameContentSequence[0].DimensionIndexValues],
                1,
            ]
            frame.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
    return ds


@pytest.mark.parametrize("without", [None, "DimensionIndexSequence", "FrameContentSequence"])
def test_enhanced_mr_with_a_private_or_no_dimension_index(tmp_path, without):
    ds = _private_index(private=without is None)
    if without == "DimensionIndexSequence":
        del ds.DimensionIndexSequence
    elif without:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.FrameContentSequence
    np.testing.assert_array_equal(
        _volume(ds, tmp_path / "a").array, _volume(_private_index(False), tmp_path / "b").array
    )
    if without is None:
        series = find_series(tmp_path / "a").series[0]
        assert make_segmentation(series, IMAGE > 800, read_series(series).affine).NumberOfFrames == IMAGE.shape[2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[: len(ds.PixelData) // 2]), "truncated: it holds"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]), "truncated: it holds"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData + b"\0" * 4000), "contradicts its pixels"),
        (lambda ds: delattr(ds, "PixelData"), "has no pixels"),
        (lambda ds: setattr(ds, "RescaleSlope", "nan"), "not finite"),
        (lambda ds: setattr(ds, "RescaleIntercept", "1e999"), "not finite"),
    ],
)
def test_pixels_that_cannot_be_trusted(tmp_path, change, says):
    datasets = made.slices(IMAGE, AFFINE, rescale=[(1.0, 0.0)])
    with pydicom.config.disable_value_validation():
        change(datasets[5])
        folder = made.save(datasets, tmp_path)
    with pytest.raises(ScanError) as caught:
        read_series(find_series(folder).series[0])
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "AAHead_Scout",
        "Survey_SHC",
        "survey",
        "localizer",
        "Localiser_64ch",
        "3Plane Loc SSFSE",
        "3-pl T2* FGRE",
        "SmartBrain_3D",
        "PlanScan",
        "head_scout_32ch",
        "TOPOGRAM 0.6",
        "Scanogram",
        "tri-plane",
    ],
)
def test_localisers_by_name(tmp_path, name):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.SeriesDescription = name
    index = find_series(made.save(datasets, tmp_path))
    assert index.series == ()
    assert "a localiser" in index.left_out[0]


@pytest.mark.parametrize(
    "name",
    [
        "t2_flair",
        "local_T1w",
        "MPRAGE 3D",
        "Surveillance FLAIR",
        "velocity",
        "T1_3D_plain",
        "allocated",
        "Pilot study FLAIR",
    ],
)
def test_other_names_are_no_localisers(tmp_path, name):
    datasets = made.slices(IMAGE, AFFINE, series_uid=generate_uid())
    for ds in datasets:
        ds.SeriesDescription = name
    assert len(find_series(made.save(datasets, tmp_path)).series) == 1
