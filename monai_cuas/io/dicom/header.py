# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What is needed of a DICOM file's header, and nothing that names a person."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import min_version, optional_import

from ...utils import CUASError, ScanError

pydicom, has_pydicom = optional_import("pydicom", "3.0.0", min_version)
highdicom, has_highdicom = optional_import("highdicom")

__all__ = [
    "DICOM_SUFFIXES",
    "ImageHeader",
    "NotAnImage",
    "Plane",
    "check_keywords",
    "discreet",
    "is_dicom",
    "read_header",
    "require_dicom",
]

DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
_OTHER_SUFFIXES = (".json", ".txt", ".csv", ".png", ".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd")
# Images of slices through a body: MR, CT, PET; classic, enhanced and legacy converted enhanced.
_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130")
)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# Names by which vendors call localisers, also behind an underscore or joined to another word: AAHead_Scout, Survey_SHC,
# 3-pl T2* FGRE, loc, SmartBrain, plan scan, scanogram.
_LOCALISER = re.compile(
    r"locali[sz]|scout|topogram|surview|scano(gram|graph)|planscan|(?<![a-z])(survey|locs?|smartplan|smartbrain)(?![a-z])"
    r"|(3|tri|three)[ _-]?pl(ane)?(?![a-z])",
    re.IGNORECASE,
)
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("Modality", "ImageType", "SeriesDescription", "ProtocolName", "Rows", "Columns", "SamplesPerPixel"),
    *("NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_LOCK = threading.RLock()


class NotAnImage(Exception):
    """A DICOM object that is passed over; the text says what it is, in words of the standard only."""


@dataclass(frozen=True)
class Plane:
    """
    One slice: a single-frame image, or a frame of a multi-frame image.

    Args:
        file: path of the file.
        frame: number of the frame, from 0.
        uid: SOPInstanceUID.
        position: centre of the first voxel, LPS, mm.
        orientation: unit vectors along a row and along a column, LPS, (6,).
        spacing: mm between rows and between columns.
        shape: number of rows and columns.
    """

    file: str
    frame: int
    uid: str
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]


@dataclass(frozen=True)
class ImageHeader:
    """
    What sorting files into series needs to know of one file.

    Args:
        file: path.
        series_uid: SeriesInstanceUID.
        owner: what all files of a series must share (patient, study, frame of reference); for comparison, never shown.
        modality: "MR", "CT" or "PT".
        localiser: whether the image type or the description says so.
        colour: more than one sample per pixel.
        planes: the slices; empty if the header states no position, orientation or spacing.
        values: values of the further keywords that were asked for, as text; for comparison, never shown.
    """

    file: str
    series_uid: str
    owner: tuple[str, ...] = field(repr=False)
    modality: str
    localiser: bool
    colour: bool
    planes: tuple[Plane, ...] = field(repr=False)
    values: dict[str, str] = field(repr=False)


def require_dicom(path: str | os.PathLike) -> None:
    """
    Raises:
        ScanError: naming ``path``, if pydicom 3 or highdicom is not installed.
    """
    if not (has_pydicom and has_highdicom):
        remedy = "pip install 'monai_cuas[dicom]', or convert it to NIfTI"
        raise ScanError(path, "this is DICOM, and pydicom 3 and highdicom are not installed", remedy)


def check_keywords(keywords: Iterable[str]) -> None:
    """
    Raises:
        CUASError: if one is not a keyword of the DICOM dictionary.
    """
    for keyword in keywords:
        if pydicom.datadict.tag_for_keyword(keyword) is None:
            raise CUASError(f"{keyword} is not a DICOM keyword; write it as SeriesDescription or Modality are written.")


@contextmanager
def discreet() -> Iterator[None]:
    """
    Keep pydicom and highdicom from quoting values of the header, such as a name, in a warning or in the log.

    Values are neither checked nor refused inside; what an exception says must not be shown either, so callers replace
    it. The settings are the process's own: one thread at a time.
    """
    settings = pydicom.config.settings
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = settings.reading_validation_mode, settings.writing_validation_mode
        levels = [(logger, logger.level) for logger in map(logging.getLogger, ("pydicom", "highdicom"))]
        settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
        for logger, _ in levels:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            settings.reading_validation_mode, settings.writing_validation_mode = before
            for logger, level in levels:
                logger.setLevel(level)


def is_dicom(path: str | os.PathLike) -> bool:
    """By suffix, or by the mark that a DICOM file carries after 128 bytes."""
    suffix = Path(path).suffix.lower()
    if suffix in DICOM_SUFFIXES:
        return not os.path.exists(path) or os.path.isfile(path)
    # What is no file, such as a named pipe, would block whoever opens it.
    if suffix in _OTHER_SUFFIXES or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(file: str | os.PathLike, keywords: Sequence[str] = ()) -> ImageHeader:
    """
    Read a header without its pixels.

    Args:
        file: a DICOM file, with or without preamble.
        keywords: further DICOM keywords, whose values are wanted for filtering.

    Raises:
        NotAnImage: if it is not an MR, CT or PET image of a series.
        ValueError: if the file cannot be read as DICOM.
    """
    with discreet():
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=[*_TAGS, *keywords])
            sop_class = str(dataset.get("SOPClassUID", ""))
        except Exception as error:
            raise ValueError(f"cannot be read as DICOM ({type(error).__name__})") from None
        _check_kind(dataset, sop_class)
        try:
            return _image_header(os.fspath(file), dataset, keywords)
        except Exception as error:
            raise ValueError(f"its header is damaged ({type(error).__name__})") from None


def _check_kind(dataset: Any, sop_class: str) -> None:
    if not dataset or not sop_class:
        meta = str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
        if meta in pydicom.uid.UID_dictionary and meta not in _IMAGES:
            raise NotAnImage(pydicom.uid.UID_dictionary[meta][0])
        raise ValueError("it holds no DICOM object")
    if sop_class not in _IMAGES:
        raise NotAnImage(pydicom.uid.UID_dictionary.get(sop_class, ("object of an unknown kind",))[0])
    uids = [str(dataset.get(k, "")) for k in ("SeriesInstanceUID", "SOPInstanceUID")]
    # A UID becomes a file name: nothing but digits and dots may pass.
    if any(len(uid) > 64 or not _UID.fullmatch(uid) for uid in uids):
        raise NotAnImage("image without valid series and instance UIDs")


def _image_header(file: str, dataset: Any, keywords: Sequence[str]) -> ImageHeader:
    described = " ".join(str(dataset.get(k, "")) for k in ("SeriesDescription", "ProtocolName"))
    kinds = [str(kind).upper() for kind in _several(dataset.get("ImageType"))]
    modality = str(dataset.get("Modality", ""))
    return ImageHeader(
        file=file,
        series_uid=str(dataset.SeriesInstanceUID),
        owner=tuple(str(dataset.get(k, "")) for k in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")),
        modality=modality if modality in ("MR", "CT", "PT") else "image",
        localiser=any(kind in ("LOCALIZER", "SCOUT") for kind in kinds) or bool(_LOCALISER.search(described)),
        colour=int(dataset.get("SamplesPerPixel", 1)) > 1,
        planes=tuple(_planes(file, dataset)),
        values={k: "\\".join(str(v) for v in _several(dataset.get(k))) for k in keywords},
    )


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


def _planes(file: str, dataset: Any) -> Iterator[Plane]:
    """The slices of a file; none if one of them has no place in space."""
    planes = []
    for frame in range(int(dataset.get("NumberOfFrames", None) or 1)):
        position = _geometry(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _geometry(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _geometry(dataset, frame, "PixelMeasuresSequence", "PixelSpacing")
        numbers = [*position, *orientation, *spacing]
        if len(numbers) != 11 or not np.isfinite(numbers).all() or min(spacing) <= 0:
            return
        place = np.asarray(position), np.asarray(orientation)
        shape = int(dataset.Rows), int(dataset.Columns)
        planes.append(Plane(file, frame, str(dataset.SOPInstanceUID), *place, (spacing[0], spacing[1]), shape))
    yield from planes


def _geometry(dataset: Any, frame: int, group: str, keyword: str) -> list[float]:
    """A value of a frame: its own, or shared by all frames, or of the single image."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    places = [*(frames[frame : frame + 1]), *shared[:1]]
    found = next((place[group].value[0] for place in places if place.get(group)), dataset)
    return [float(v) for v in _several(found.get(keyword))]
