# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a DICOM object that is derived from a series takes over from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import __version__
from ...utils import ScanError
from .geometry import IRREGULARITIES, SliceStack, stack_slices
from .header import Plane, discreet, highdicom, pydicom, require_dicom
from .index import DicomSeries

__all__ = ["SegmentationTerms", "algorithm_identification", "check_grid", "common_attributes", "derive"]

# Attributes that must be there, if only empty; anonymisers like to remove them.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_SEXES = ("M", "F", "O")
_LONG_STRING = 64
_UTF_8 = "ISO_IR 192"


@dataclass(frozen=True)
class SegmentationTerms:
    """
    What the derived object says of itself. Codes are (value, scheme, meaning).

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
        made: AUTOMATIC, SEMIAUTOMATIC (a reader changed what the algorithm found) or MANUAL (no algorithm is stated).
        creator: who made it, up to 64 characters; None: nobody, or not known.
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
    made: str = "AUTOMATIC"
    creator: str | None = None


def derive(
    series: DicomSeries,
    volume: np.ndarray,
    affine: np.ndarray,
    build: Callable[[list[Any], list[Plane], np.ndarray], Any],
    what: str,
    creator: str | None = None,
) -> Any:
    """
    Build an object whose frames are slices of a volume, one for each image of a series.

    Args:
        series: as it was read.
        volume: (columns, rows, slices) on the grid of :func:`read_series`; may have channels as a fourth axis.
        affine: of the volume, 4 x 4, voxel to RAS millimetres.
        build: function of the images' headers, the planes and their frames (n, rows, columns).
        what: how messages name the object.
        creator: who made it.

    Raises:
        ScanError: if the volume lies on another grid, or the series cannot be referred to.
    """
    require_dicom(series.path)
    stack = check_grid(series, volume, affine)
    planes = _referable(series, stack)
    slice_of = {(plane.file, plane.frame): k for k, place in zip(stack.slice_of_place, stack.places) for plane in place}
    frames = np.stack([volume[:, :, slice_of[plane.file, plane.frame]].swapaxes(0, 1) for plane in planes])
    with discreet():
        try:
            derived = build([_source(file) for file in dict.fromkeys(plane.file for plane in planes)], planes, frames)
            if not isinstance(derived, list):  # images have a device and no creator
                # Nobody drew it unless its terms say so, but the attribute must be there.
                derived.ContentCreatorName = creator
            return derived
        except Exception as error:
            # What the exception says may quote a value of the header.
            kind = type(error).__name__
    problem = f"no {what} can refer to its images ({kind})"
    raise ScanError(series.path, problem, "use the NIfTI files, or export the series from the archive again")


def common_attributes(terms: SegmentationTerms, content: str) -> dict[str, Any]:
    """Arguments that highdicom's constructors share: a new series and instance, and the device."""
    return {
        "series_instance_uid": highdicom.UID(),
        "series_number": terms.series_number,
        "series_description": terms.series_description[:_LONG_STRING],
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": "monai_cuas contributors",
        "manufacturer_model_name": "monai_cuas",
        "software_versions": __version__,
        "device_serial_number": terms.serial_number[:_LONG_STRING],
        "content_label": terms.content_label,
        "content_description": content[:_LONG_STRING] or None,
    }


def algorithm_identification(terms: SegmentationTerms) -> Any:
    """Name, family, version and settings of the algorithm."""
    return highdicom.AlgorithmIdentificationSequence(
        name=terms.algorithm,
        family=pydicom.sr.codedict.codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="monai_cuas",
        parameters={str(k): str(v) for k, v in terms.parameters.items()} or None,
    )


def check_grid(series: DicomSeries, volume: np.ndarray, affine: np.ndarray) -> SliceStack:
    """
    Look whether a result lies on the grid of its series.

    Args:
        series: as it was read.
        volume: (columns, rows, slices), channels may follow.
        affine: of the volume, 4 x 4, voxel to RAS millimetres.

    Returns:
        The slices of the series.

    Raises:
        ScanError: if it does not.
    """
    stack = stack_slices(series.planes, series.path, IRREGULARITIES)
    rows, columns = series.planes[0].shape
    same = volume.shape[:3] == (columns, rows, stack.n_slices) and np.allclose(affine, stack.affine, atol=1e-2)
    if not same:
        raise ScanError(series.path, "the result is not on its grid", "use the results of this run")
    return stack


def _referable(series: DicomSeries, stack: SliceStack) -> list[Plane]:
    """The planes that become frames: one of each place, or all frames of the one multi-frame image."""
    if all(len(header.planes) == 1 for header in series.headers):
        return [place[0] for place in stack.places]
    files = list(dict.fromkeys(place[0].file for place in stack.places))
    if len(files) > 1:
        problem = "it has several multi-frame images, and a derived object can refer to one of them"
        raise ScanError(series.path, problem, "use the NIfTI files")
    return [plane for header in series.headers if header.file == files[0] for plane in header.planes]


def _source(file: str) -> Any:
    """The header of a source image, complete enough for its attributes to be passed on."""
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    _use_known_characters(dataset)
    # What is not of DICOM's form cannot be passed on; the archive knows patient and study by their identifiers.
    if dataset.PatientSex not in _SEXES:
        dataset.PatientSex = None
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime"):
        if not _is_of_form(dataset[keyword]):
            setattr(dataset, keyword, None)
    return dataset


def _use_known_characters(dataset: Any) -> None:
    """Pass text on in UTF-8 where highdicom does not take the character set, as with most that have several."""
    stated = dataset.get("SpecificCharacterSet")
    known = {value.value for value in highdicom.enum.SpecificCharacterSetValues}
    if not isinstance(stated, str) or stated not in known or stated.startswith("ISO 2022"):
        dataset.decode()
        dataset.SpecificCharacterSet = _UTF_8


def _is_of_form(element: Any) -> bool:
    kind = pydicom.valuerep.DA if element.VR == "DA" else pydicom.valuerep.TM
    try:
        kind(element.value)
    except (TypeError, ValueError):
        return False
    return True
