# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A mask as a DICOM segmentation that refers to the images of its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from monai.utils import optional_import

from ... import __version__
from ...utils import ScanError
from .geometry import IRREGULARITIES, SliceStack, stack_slices
from .header import Plane, discreet, highdicom, pydicom, require_dicom
from .index import DicomSeries

seg, _ = optional_import("highdicom.seg")

__all__ = ["SegmentationTerms", "make_segmentation"]

# Attributes that must be there, if only empty; anonymisers like to remove them.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_SEXES = ("M", "F", "O")
_RED = (53.2, 80.1, 67.2)
_LONG_STRING = 64


@dataclass(frozen=True)
class SegmentationTerms:
    """
    What the segmentation says of itself. Codes are (value, scheme, meaning).

    Args:
        label: name of the segment, as viewers show it.
        category: code of CID 7150.
        kind: code of what was segmented.
        region: code of the body part.
        series_number, series_description: of the new series.
        content_label: upper case, digits and underscores, up to 16 characters.
        algorithm: name of the algorithm.
        parameters: settings of the algorithm, to be stated.
        serial_number: what tells this device from others of its kind, such as a digest of the weights.
    """

    label: str = "Anomaly"
    category: tuple[str, str, str] = ("49755003", "SCT", "Morphologically Abnormal Structure")
    kind: tuple[str, str, str] = ("52988006", "SCT", "Lesion")
    region: tuple[str, str, str] = ("12738006", "SCT", "Brain")
    series_number: int = 990
    series_description: str = "Anomaly segmentation, unreviewed"
    content_label: str = "ANOMALY"
    algorithm: str = "Constrained unsupervised anomaly segmentation"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    serial_number: str = "unspecified"


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
    require_dicom(series.path)
    stack = stack_slices(series.planes, series.path, IRREGULARITIES)
    _check_grid(series, mask, affine, stack)
    planes = _referable(series, stack)
    slice_of = {(plane.file, plane.frame): k for k, place in zip(stack.slice_of_place, stack.places) for plane in place}
    frames = np.stack([np.asarray(mask[:, :, slice_of[p.file, p.frame]], dtype=bool).T for p in planes])
    with discreet():
        try:
            return _segmentation(list(dict.fromkeys(p.file for p in planes)), frames, terms, content)
        except Exception as error:
            # What the exception says may quote a value of the header.
            kind = type(error).__name__
    problem = f"no DICOM segmentation can refer to its images ({kind})"
    raise ScanError(series.path, problem, "use the NIfTI mask, or export the series from the archive again")


def _check_grid(series: DicomSeries, mask: np.ndarray, affine: np.ndarray, stack: SliceStack) -> None:
    rows, columns = series.planes[0].shape
    same = mask.shape == (columns, rows, stack.n_slices) and np.allclose(affine, stack.affine, atol=1e-2)
    if not same:
        raise ScanError(series.path, "the mask is not on its grid", "write the segmentation from the mask of this run")


def _referable(series: DicomSeries, stack: SliceStack) -> list[Plane]:
    """The planes that become frames: one of each place, or all frames of the one multi-frame image."""
    if all(len(header.planes) == 1 for header in series.headers):
        return [place[0] for place in stack.places]
    files = list(dict.fromkeys(place[0].file for place in stack.places))
    if len(files) > 1:
        problem = "it has several multi-frame images, and a segmentation can refer to one of them"
        raise ScanError(series.path, problem, "use the NIfTI mask")
    return [plane for header in series.headers if header.file == files[0] for plane in header.planes]


def _segmentation(files: list[str], frames: np.ndarray, terms: SegmentationTerms | None, content: str) -> Any:
    terms = terms or SegmentationTerms()
    sources = [_source(file) for file in files]
    codes = pydicom.sr.codedict.codes
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=terms.algorithm,
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="monai_cuas",
        parameters={str(k): str(v) for k, v in terms.parameters.items()} or None,
    )
    segment = seg.SegmentDescription(
        segment_number=1,
        segment_label=terms.label[:_LONG_STRING],
        segmented_property_category=highdicom.sr.CodedConcept(*terms.category),
        segmented_property_type=highdicom.sr.CodedConcept(*terms.kind),
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[highdicom.sr.CodedConcept(*terms.region)],
        display_color=highdicom.color.CIELabColor(*_RED),
    )
    segmentation = seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=highdicom.UID(),
        series_number=terms.series_number,
        series_description=terms.series_description[:_LONG_STRING],
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="monai_cuas contributors",
        manufacturer_model_name="monai_cuas",
        software_versions=__version__,
        device_serial_number=terms.serial_number[:_LONG_STRING],
        content_label=terms.content_label,
        content_description=content[:_LONG_STRING] or None,
        omit_empty_frames=False,
    )
    # Nobody drew it, but the attribute must be there.
    segmentation.ContentCreatorName = None
    _identify_each_frame(segmentation)
    return segmentation


def _identify_each_frame(segmentation: Any) -> None:
    """State the segment in each frame: highdicom may say it once for all, which MONAI's PydicomReader cannot read."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for frame in segmentation.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence


def _source(file: str) -> Any:
    """The header of a source image, complete enough for its attributes to be passed on."""
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    # What is not of DICOM's form cannot be passed on; the archive knows patient and study by their identifiers.
    if dataset.PatientSex not in _SEXES:
        dataset.PatientSex = None
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime"):
        if not _is_of_form(dataset[keyword]):
            setattr(dataset, keyword, None)
    return dataset


def _is_of_form(element: Any) -> bool:
    kind = pydicom.valuerep.DA if element.VR == "DA" else pydicom.valuerep.TM
    try:
        kind(element.value)
    except (TypeError, ValueError):
        return False
    return True
