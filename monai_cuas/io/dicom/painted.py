# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Colours on a scan as DICOM secondary captures, which every viewer shows; where a map's numbers cannot be read.

They are single images: OHIF puts the first frame of a multi-frame one where another frame lies.
"""

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
_NOT_OF_AN_IMAGE = ("content_label", "content_description", "sop_instance_uid", "instance_number")


def painted_terms(terms: SegmentationTerms) -> SegmentationTerms:
    """What it says of itself beside a segmentation of these terms: a series of its own, after the map's."""
    return replace(terms, series_number=terms.series_number + 3, series_description=PAINTED_DESCRIPTION)


def make_painted(
    series: DicomSeries, painted: np.ndarray, affine: np.ndarray, terms: SegmentationTerms | None = None
) -> list[Any]:
    """
    Build a series of true colour secondary captures, one for each image of the series, where that lies.

    Args:
        series: as it was read.
        painted: (columns, rows, slices, 3) uint8, red, green and blue, on the grid of :func:`read_series`.
        affine: of the volume, 4 x 4, voxel to RAS millimetres.
        terms: what they say of themselves; see :func:`painted_terms`.

    Returns:
        pydicom Datasets of one series.

    Raises:
        ScanError: if the volume lies on another grid, or the series cannot be referred to.
        ValueError: if ``painted`` has no three colours of one byte.
    """
    if painted.ndim != 4 or painted.shape[3] != 3 or painted.dtype != np.uint8:
        raise ValueError(f"painted must be (columns, rows, slices, 3) of uint8, not {painted.shape} {painted.dtype}")
    chosen = terms or painted_terms(SegmentationTerms())

    def build(sources: list[Any], planes: list[Plane], frames: np.ndarray) -> list[Any]:
        common = {k: v for k, v in common_attributes(chosen, "").items() if k not in _NOT_OF_AN_IMAGE}
        by_uid = {str(source.SOPInstanceUID): source for source in sources}
        thickness = _distance(planes)
        made = []
        for number, (plane, frame) in enumerate(zip(planes, frames), 1):
            source = by_uid[plane.uid]
            image = _image(source, int(source.get("InstanceNumber") or number) if len(sources) > 1 else number, common)
            _add_pixels(image, frame)
            _add_place(image, plane, source, thickness)
            made.append(image)
        return made

    return list(derive(series, painted, affine, build, "DICOM secondary capture"))


def _image(source: Any, number: int, common: dict[str, Any]) -> Any:
    """Patient, study, series and device."""
    made = highdicom.base.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        sop_class_uid=pydicom.uid.SecondaryCaptureImageStorage,
        sop_instance_uid=highdicom.UID(),
        instance_number=number,
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
        **common,
    )
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "WSD"
    made.DerivationDescription = _DERIVATION
    made.Laterality = made.PatientOrientation = None
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    return made


def _add_pixels(made: Any, frame: np.ndarray) -> None:
    made.Rows, made.Columns = frame.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    pixels = frame.tobytes()
    made.PixelData = pixels + bytes(len(pixels) % 2)
    made["PixelData"].VR = "OB"


def _add_place(made: Any, plane: Plane, source: Any, thickness: float | None) -> None:
    """Where the image lies, and which one it is of; highdicom's sequences write numbers as DICOM can hold them."""
    made.FrameOfReferenceUID = source.FrameOfReferenceUID
    made.PositionReferenceIndicator = source.PositionReferenceIndicator
    (measures,) = highdicom.PixelMeasuresSequence(plane.spacing, thickness)
    (position,) = highdicom.PlanePositionSequence("PATIENT", plane.position.tolist())
    (orientation,) = highdicom.PlaneOrientationSequence("PATIENT", plane.orientation.tolist())
    made.PixelSpacing, made.SliceThickness = measures.PixelSpacing, measures.SliceThickness
    made.ImagePositionPatient = position.ImagePositionPatient
    made.ImageOrientationPatient = orientation.ImageOrientationPatient
    of = pydicom.Dataset()
    of.ReferencedSOPClassUID, of.ReferencedSOPInstanceUID = source.SOPClassUID, plane.uid
    if source.get("NumberOfFrames"):
        of.ReferencedFrameNumber = plane.frame + 1
    of.PurposeOfReferenceCodeSequence = [highdicom.sr.CodedConcept(*_SOURCE)]
    made.SourceImageSequence = [of]


def _distance(planes: list[Plane]) -> float | None:
    """Millimetres from one slice to the next, which is what a viewer builds its volume with."""
    heights = sorted(float(p.position @ np.cross(p.orientation[:3], p.orientation[3:])) for p in planes)
    steps = np.diff(np.unique(np.round(heights, 4)))
    return round(float(np.median(steps)), 4) if len(steps) else None
