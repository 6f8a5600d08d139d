# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The anomaly map as a DICOM parametric map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from monai.utils import optional_import

from .derived import SegmentationTerms, common_attributes, derive
from .header import Plane, highdicom, pydicom
from .index import DicomSeries

pm, _ = optional_import("highdicom.pm")

__all__ = ["MAP_DESCRIPTION", "make_parametric_map", "map_terms"]

MAP_DESCRIPTION = "Anomaly score, unreviewed"
"""Description of the series of a map."""

_QUANTITY = "-log10 of the rate of healthy voxels that are as high"

# What viewers show at first: from one in ten to one in ten thousand healthy voxels.
_WINDOW_CENTRE, _WINDOW_WIDTH = 2.5, 3.0
# A code of our own, by DICOM's rule for such schemes: the standard has none for this quantity.
_SCORE = ("ANOMALY-SCORE", "99MONAICUAS", _QUANTITY)


def map_terms(terms: SegmentationTerms) -> SegmentationTerms:
    """What a map says of itself beside a segmentation of these terms: a series of its own, two numbers on, as the one
    between is a reader's segmentation."""
    return replace(terms, series_number=terms.series_number + 2, series_description=MAP_DESCRIPTION)


def make_parametric_map(
    series: DicomSeries,
    anomaly: np.ndarray,
    affine: np.ndarray,
    terms: SegmentationTerms | None = None,
    content: str = _QUANTITY,
) -> Any:
    """
    Build a parametric map, 32-bit floating point, with a frame for each image of the series.

    Args:
        series: as it was read.
        anomaly: (columns, rows, slices) on the grid of :func:`read_series`; -log10 of the healthy exceedance rate.
        affine: of the map, 4 x 4, voxel to RAS millimetres.
        terms: what it says of itself; see :func:`map_terms`.
        content: what it shows, up to 64 characters.

    Returns:
        highdicom ParametricMap, a pydicom Dataset.

    Raises:
        ScanError: if the map lies on another grid, or the series cannot be referred to.
    """
    values = np.nan_to_num(np.asarray(anomaly, dtype=np.float32))
    chosen = terms or map_terms(SegmentationTerms())

    def build(sources: list[Any], _: list[Plane], frames: np.ndarray) -> Any:
        mapping = pm.RealWorldValueMapping(
            lut_label="ANOMALY",
            lut_explanation="anomaly score",
            unit=pydicom.sr.codedict.codes.UCUM.NoUnits,
            value_range=(float(values.min()), float(values.max())),
            slope=1.0,
            intercept=0.0,
            quantity_definition=highdicom.sr.CodedConcept(*_SCORE),
        )
        parametric_map = pm.ParametricMap(
            source_images=sources,
            pixel_array=frames,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[
                highdicom.VOILUTTransformation(window_center=_WINDOW_CENTRE, window_width=_WINDOW_WIDTH)
            ],
            **common_attributes(chosen, content),
        )
        _add_anatomy(parametric_map, chosen)
        _sort_frames(parametric_map)
        return parametric_map

    return derive(series, values, affine, build, "DICOM parametric map")


def _add_anatomy(parametric_map: Any, terms: SegmentationTerms) -> None:
    """The body part, for all frames; highdicom leaves it out, and validators ask for the laterality."""
    anatomy = pydicom.Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [highdicom.sr.CodedConcept(*terms.region)]
    parametric_map.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _sort_frames(parametric_map: Any) -> None:
    """
    Order the frames along row x column direction.

    highdicom stores them the other way round, which is as valid; but dcmqi, and with it 3D Slicer, goes by the order
    and not by the positions of the frames, and would show the map mirrored.
    """
    frames = list(parametric_map.PerFrameFunctionalGroupsSequence)
    shared = parametric_map.SharedFunctionalGroupsSequence[0]
    directions = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    positions = np.asarray([f.PlanePositionSequence[0].ImagePositionPatient for f in frames], dtype=float)
    order = np.argsort(positions @ np.cross(*directions))
    pixels = np.frombuffer(parametric_map.FloatPixelData, "<f4").reshape(len(frames), -1)
    parametric_map.FloatPixelData = pixels[order].tobytes()
    parametric_map.PerFrameFunctionalGroupsSequence = [frames[k] for k in order]
    for number, frame in enumerate(parametric_map.PerFrameFunctionalGroupsSequence, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]
