# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Colours on a scan as a DICOM secondary capture, which every viewer shows; where a map's numbers cannot be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .derived import SegmentationTerms, common_attributes, derive
from .header import Plane, highdicom, pydicom
from .index import DicomSeries

__all__ = ["PAINTED_DESCRIPTION", "make_painted", "painted_terms"]

PAINTED_DESCRIPTION = "Anomaly on scan, unreviewed: red 1 in 10, yellow 1 in 10000"
"""Description of the series: viewers show it in the corner, where a reader looks for what the colours mean."""

_DERIVATION = "The anomaly score painted on the scan; research only, no diagnosis, not for measuring."
_SOURCE = ("121322", "DCM", "Source image for image processing operation")
_NOT_OF_AN_IMAGE = ("content_label", "content_description")


def painted_terms(terms: SegmentationTerms) -> SegmentationTerms:
    """What it says of itself beside a segmentation of these terms: a series of its own, after the map's."""
    return replace(terms, series_number=terms.series_number + 3, series_description=PAINTED_DESCRIPTION)


def make_painted(
    series: DicomSeries, painted: np.ndarray, affine: np.ndarray, terms: SegmentationTerms | None = None
) -> Any:
    """
    Build a multi-frame true colour secondary capture with a frame for each image of the series, where that lies.

    Args:
        series: as it was read.
        painted: (columns, rows, slices, 3) uint8, red, green and blue, on the grid of :func:`read_series`.
        affine: of the volume, 4 x 4, voxel to RAS millimetres.
        terms: what it says of itself; see :func:`painted_terms`.

    Returns:
        A pydicom Dataset.

    Raises:
        ScanError: if the volume lies on another grid, or the series cannot be referred to.
        ValueError: if ``painted`` has no three colours of one byte.
    """
    if painted.ndim != 4 or painted.shape[3] != 3 or painted.dtype != np.uint8:
        raise ValueError(f"painted must be (columns, rows, slices, 3) of uint8, not {painted.shape} {painted.dtype}")
    chosen = terms or painted_terms(SegmentationTerms())

    def build(sources: list[Any], planes: list[Plane], frames: np.ndarray) -> Any:
        made = _empty(sources[0], chosen)
        _add_pixels(made, frames)
        _add_places(made, planes, sources, chosen)
        return made

    made = derive(series, painted, affine, build, "DICOM secondary capture")
    # a secondary capture has a device and no creator
    del made.ContentCreatorName
    return made


def _empty(source: Any, terms: SegmentationTerms) -> Any:
    """Patient, study, series and device; highdicom's class for secondary captures has one frame."""
    attributes = {k: v for k, v in common_attributes(terms, "").items() if k not in _NOT_OF_AN_IMAGE}
    made = highdicom.base.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        sop_class_uid=pydicom.uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        modality="OT",
        transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.ReferringPhysicianName,
        specific_character_set=source.get("SpecificCharacterSet"),
        **attributes,
    )
    made.FrameOfReferenceUID = source.FrameOfReferenceUID
    made.PositionReferenceIndicator = source.PositionReferenceIndicator
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "WSD"
    made.DerivationDescription = _DERIVATION
    made.PatientOrientation = None
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    return made


def _add_pixels(made: Any, frames: np.ndarray) -> None:
    made.NumberOfFrames, made.Rows, made.Columns = frames.shape[:3]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    pixels = frames.tobytes()
    made.PixelData = pixels + bytes(len(pixels) % 2)
    made["PixelData"].VR = "OB"
    # frames are slices, so what counts from one to the next is their groups
    made.FrameIncrementPointer = pydicom.datadict.tag_for_keyword("PerFrameFunctionalGroupsSequence")


def _add_places(made: Any, planes: list[Plane], sources: list[Any], terms: SegmentationTerms) -> None:
    """Where each frame lies, and of which image it is."""
    by_uid = {str(source.SOPInstanceUID): source for source in sources}
    first, shared = planes[0], pydicom.Dataset()
    shared.PixelMeasuresSequence = highdicom.PixelMeasuresSequence(first.spacing, _distance(planes))
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", first.orientation.tolist())
    anatomy = pydicom.Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [highdicom.sr.CodedConcept(*terms.region)]
    shared.FrameAnatomySequence = [anatomy]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [_place(plane, by_uid[plane.uid]) for plane in planes]


def _distance(planes: list[Plane]) -> float | None:
    """Millimetres from one slice to the next, which is what a viewer builds its volume with."""
    heights = sorted(float(p.position @ np.cross(p.orientation[:3], p.orientation[3:])) for p in planes)
    steps = np.diff(np.unique(np.round(heights, 4)))
    return round(float(np.median(steps)), 4) if len(steps) else None


def _place(plane: Plane, image: Any) -> Any:
    """Groups of one frame."""
    group, derivation, source = (pydicom.Dataset() for _ in range(3))
    group.PlanePositionSequence = highdicom.PlanePositionSequence("PATIENT", plane.position.tolist())
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, plane.uid
    if image.get("NumberOfFrames"):
        source.ReferencedFrameNumber = plane.frame + 1
    source.PurposeOfReferenceCodeSequence = [highdicom.sr.CodedConcept(*_SOURCE)]
    derivation.SourceImageSequence = [source]
    derivation.DerivationCodeSequence = [
        highdicom.sr.CodedConcept.from_code(pydicom.sr.codedict.codes.DCM.UnspecifiedMethodOfCalculation)
    ]
    group.DerivationImageSequence = [derivation]
    return group
