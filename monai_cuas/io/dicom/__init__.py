# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM series in; segmentations, maps and painted scans out."""

from __future__ import annotations

from .derived import SegmentationTerms, check_grid
from .geometry import IRREGULARITIES
from .header import is_dicom
from .index import DicomIndex, DicomSeries, find_series, get_series, is_series_path, series_at, split_series_path
from .painted import make_painted, painted_terms
from .parametric_map import make_parametric_map, map_terms
from .reader import DicomSeriesReader, DicomVolume, read_series
from .segmentation import make_segmentation
from .statement import found_terms, read_terms, segment_finding, stated

__all__ = [
    "IRREGULARITIES",
    "DicomIndex",
    "DicomSeries",
    "DicomSeriesReader",
    "DicomVolume",
    "SegmentationTerms",
    "check_grid",
    "find_series",
    "found_terms",
    "get_series",
    "is_dicom",
    "is_series_path",
    "make_painted",
    "make_parametric_map",
    "make_segmentation",
    "map_terms",
    "painted_terms",
    "read_series",
    "read_terms",
    "segment_finding",
    "series_at",
    "split_series_path",
    "stated",
]
