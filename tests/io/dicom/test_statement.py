# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a segmentation says of who and what made it."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.io.dicom import found_terms, make_segmentation, read_terms, segment_finding, series_at
from tests import dicom_files as made

SHAPE = (18, 14, 12)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine()
MASK = np.zeros(SHAPE, dtype=bool)
MASK[3:7, 2:5, 4:6] = True
SUMMARY = {"threshold_rate": 0.02, "median_radius": 1, "min_component_ml": 0.5, "method": "AMCons"}
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    made.save(made.slices(IMAGE, AFFINE), folder)
    return series_at(str(folder))


def _written(dataset, folder):
    dataset.save_as(folder / "seg.dcm", enforce_file_format=True)
    return pydicom.dcmread(folder / "seg.dcm")


def test_a_finding_states_threshold_weights_version_and_method(series, tmp_path):
    ds = _written(segment_finding(series, MASK, AFFINE, found_terms(SUMMARY, DIGEST), 0.02), tmp_path)
    segment = ds.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentAlgorithmName == algorithm.AlgorithmName == "monai_cuas AMCons"
    assert algorithm.AlgorithmVersion
    for said in (
        "healthy_false_positive_rate=0.02",
        "median_radius=1",
        "min_component_ml=0.5",
        f"weights_sha256={DIGEST}",
    ):
        assert said in algorithm.AlgorithmParameters
    assert ds.DeviceSerialNumber == DIGEST[:16]
    assert ds.ContentDescription == "Above the threshold of 0.02 of healthy voxels"
    empty = segment_finding(series, MASK & False, AFFINE, found_terms(SUMMARY, DIGEST), 0.02)
    assert empty.ContentDescription.startswith("Nothing above")


def test_a_label_that_a_reader_drew_names_no_algorithm(series, tmp_path):
    terms = read_terms("Reader^One", None, "Spot")
    ds = _written(make_segmentation(series, MASK, AFFINE, terms), tmp_path)
    segment = ds.SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in segment
    assert "SegmentationAlgorithmIdentificationSequence" not in segment
    assert str(ds.ContentCreatorName) == "Reader One"
    assert segment.SegmentLabel == "Spot"


def test_a_label_that_began_as_a_finding_says_so_and_keeps_what_it_was(series, tmp_path):
    terms = read_terms("reader@x.org", found_terms(SUMMARY, DIGEST), "Anomaly")
    ds = _written(make_segmentation(series, MASK, AFFINE, terms), tmp_path)
    segment = ds.SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentAlgorithmName == "monai_cuas AMCons"
    assert f"weights_sha256={DIGEST}" in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert str(ds.ContentCreatorName) == "reader@x.org"
    assert (ds.SeriesNumber, ds.SeriesDescription) == (991, "Anomaly segmentation, by a reader")


@pytest.mark.parametrize(("name", "kept"), [(None, ""), ("", ""), ("a\\b=c^d\0e\n", "a b c d e"), ("x" * 99, "x" * 64)])
def test_any_user_name_is_one_that_dicom_holds(series, tmp_path, name, kept):
    ds = _written(make_segmentation(series, MASK, AFFINE, read_terms(name, None, "Spot")), tmp_path)
    assert str(ds.ContentCreatorName or "") == kept
