# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A mask as a DICOM segmentation that refers to the images of its series."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.utils import optional_import

from .derived import SegmentationTerms, algorithm_identification, common_attributes, derive
from .header import Plane, highdicom
from .index import DicomSeries

seg, _ = optional_import("highdicom.seg")

__all__ = ["make_segmentation"]

_RED = (53.2, 80.1, 67.2)


def make_segmentation(
    series: DicomSeries, mask: np.ndarray, affine: np.ndarray, terms: SegmentationTerms | None = None, content: str = ""
) -> Any:
    """
    Build a binary segmentation with a frame for each image of the series.

    Frames without a marked voxel are kept, so that an empty mask is a valid statement that nothing was found. The
    patient's and the study's attributes are those of the series, as an archive needs them; nothing else may show them.

    Args:
        series: as it was read.
        mask: (columns, rows, slices) on the grid of :func:`read_series`.
        affine: of the mask, 4 x 4, voxel to RAS millimetres.
        terms: what the segmentation says of itself.
        content: what it shows, up to 64 characters.

    Returns:
        highdicom Segmentation, a pydicom Dataset.

    Raises:
        ScanError: if the mask lies on another grid, or the series cannot be referred to.
    """
    chosen = terms or SegmentationTerms()

    def build(sources: list[Any], _: list[Plane], frames: np.ndarray) -> Any:
        segmentation = seg.Segmentation(
            source_images=sources,
            pixel_array=frames,
            segmentation_type=seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(chosen)],
            omit_empty_frames=False,
            **common_attributes(chosen, content),
        )
        _identify_each_frame(segmentation)
        return segmentation

    return derive(series, np.asarray(mask, dtype=bool), affine, build, "DICOM segmentation", chosen.creator)


def _segment(terms: SegmentationTerms) -> Any:
    kinds = seg.SegmentAlgorithmTypeValues
    kind = kinds(terms.made)
    return seg.SegmentDescription(
        segment_number=1,
        segment_label=terms.label,
        segmented_property_category=highdicom.sr.CodedConcept(*terms.category),
        segmented_property_type=highdicom.sr.CodedConcept(*terms.kind),
        algorithm_type=kind,
        # where a reader drew it alone, no algorithm is to be named
        algorithm_identification=None if kind is kinds.MANUAL else algorithm_identification(terms),
        anatomic_regions=[highdicom.sr.CodedConcept(*terms.region)],
        display_color=highdicom.color.CIELabColor(*_RED),
    )


def _identify_each_frame(segmentation: Any) -> None:
    """State the segment in each frame: highdicom may say it once for all, which MONAI's PydicomReader cannot read."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for frame in segmentation.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence
