# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Find the series in a heap of DICOM files.

A series is named by one string, ``ROOT::SeriesInstanceUID``, in which ROOT is the file or folder that the user gave. It
serves as the path of a scan in data lists, tables and messages: folders below ROOT, which archives like to name after
patients, do not appear.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...utils import ScanError, walk_files
from .geometry import count_positions, one_orientation
from .header import ImageHeader, NotAnImage, Plane, check_keywords, is_dicom, read_header, require_dicom

__all__ = [
    "DicomIndex",
    "DicomSeries",
    "find_series",
    "get_series",
    "is_series_path",
    "only_series",
    "series_at",
    "split_series_path",
]

_SERIES_PATH = re.compile(r"(?P<root>.+)::(?P<uid>[0-9]+(\.[0-9]+)+)", re.DOTALL)


@dataclass(frozen=True)
class DicomSeries:
    """
    The images of one SeriesInstanceUID.

    Args:
        root: file or folder in which it was found.
        uid: SeriesInstanceUID.
        headers: of its files, in the order of their paths.
    """

    root: str
    uid: str
    headers: tuple[ImageHeader, ...] = field(repr=False)

    @property
    def path(self) -> str:
        """The string that names the series."""
        return f"{self.root}::{self.uid}"

    @property
    def planes(self) -> list[Plane]:
        """All slices."""
        return [plane for header in self.headers for plane in header.planes]

    def check(self) -> None:
        """
        Raises:
            ScanError: if its images do not belong together.
        """
        if len({header.owner for header in self.headers}) > 1:
            problem = "its images do not agree in patient, study or frame of reference"
            raise ScanError(self.path, problem, "look into how it was exported or anonymised")
        if any(not header.planes for header in self.headers):
            raise ScanError(self.path, "some of its images state no position", "export it from the archive again")


@dataclass(frozen=True)
class DicomIndex:
    """
    What was found under a path.

    Args:
        root: the path.
        series: those to be used, by UID.
        left_out: one sentence for each series or kind of object that is not.
    """

    root: str
    series: tuple[DicomSeries, ...]
    left_out: tuple[str, ...]


_found: dict[str, DicomIndex] = {}


def is_series_path(path: str | os.PathLike) -> bool:
    """Whether it has the form ``ROOT::SeriesInstanceUID`` (and is not a file of that name)."""
    return bool(_SERIES_PATH.fullmatch(os.fspath(path))) and not os.path.exists(path)


def split_series_path(path: str | os.PathLike) -> tuple[str, str]:
    """``ROOT::SeriesInstanceUID`` as (ROOT, SeriesInstanceUID)."""
    match = _SERIES_PATH.fullmatch(os.fspath(path))
    if match is None:
        raise ValueError(f"{path} is not of the form ROOT::SeriesInstanceUID.")
    return match["root"], match["uid"]


def get_series(path: str | os.PathLike) -> DicomSeries:
    """
    The series that ``ROOT::SeriesInstanceUID`` names; ROOT is read only if that was not done before, or has changed.

    Raises:
        ScanError: if it is not there.
    """
    root, uid = split_series_path(path)
    for index in (_found.get(root), None):
        index = index or find_series(root, min_slices=1, keep_localisers=True)
        series = next((s for s in index.series if s.uid == uid), None)
        if series is not None and all(os.path.exists(header.file) for header in series.headers):
            return series
    raise ScanError(path, "there is no such DICOM series", "check the folder and the SeriesInstanceUID")


def find_series(
    root: str | os.PathLike,
    files: Iterable[str | os.PathLike] | None = None,
    min_slices: int = 10,
    where: Mapping[str, str] | None = None,
    keep_localisers: bool = False,
) -> DicomIndex:
    """
    Sort DICOM files into series.

    MR, CT and PET images are taken, classic or enhanced; everything else (reports, segmentations, PDF, secondary
    captures, colour images) is passed over. A localiser, and what has fewer than ``min_slices`` different positions,
    is left out.

    Args:
        root: file or folder; searched with its subfolders, without hidden files.
        files: the files under ``root``, if they are known already.
        min_slices: fewest slices of a series that is a scan.
        where: shell patterns by DICOM keyword, such as ``{"SeriesDescription": "*FLAIR*"}``, not case-sensitive; a
            series of which an image does not match all of them is left out.
        keep_localisers: do not leave them out.

    Raises:
        CUASError: if pydicom or highdicom is missing, or a keyword is not one of DICOM.
    """
    name = os.fspath(root)
    require_dicom(name)
    where = dict(where or {})
    check_keywords(where)
    groups: dict[str, list[ImageHeader]] = {}
    passed_over: Counter[str] = Counter()
    for file in sorted(os.fspath(f) for f in (_files(Path(name)) if files is None else files)):
        try:
            header = read_header(file, tuple(where))
        except NotAnImage as kind:
            passed_over[str(kind)] += 1
        except ValueError as problem:
            passed_over[f"unreadable file: {problem}"] += 1
        else:
            groups.setdefault(header.series_uid, []).append(header)
    series, left_out = [], [f"{name}: passed over {n} x {kind}." for kind, n in sorted(passed_over.items())]
    for uid in sorted(groups):
        one = DicomSeries(name, uid, tuple(groups[uid]))
        reason = _reason(one, min_slices, where, keep_localisers)
        if reason:
            left_out.append(f"{one.path}: left out, {reason}.")
        else:
            series.append(one)
    index = DicomIndex(name, tuple(series), tuple(left_out))
    _found[name] = index
    return index


def _files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, names in walk_files(root):
        yield from (p for p in (Path(folder, n) for n in names) if is_dicom(p))


def _reason(series: DicomSeries, min_slices: int, where: Mapping[str, str], keep_localisers: bool) -> str | None:
    """Why a series is left out, or None."""
    headers, planes = series.headers, series.planes
    for keyword, pattern in where.items():
        if not all(fnmatch.fnmatchcase(h.values[keyword].lower(), pattern.lower()) for h in headers):
            return f"its {keyword} does not match"
    if any(header.colour for header in headers):
        return "a colour image"
    if not planes:
        return "its images state no position, orientation or pixel spacing"
    if not keep_localisers and all(header.localiser for header in headers):
        return "a localiser"
    if not keep_localisers and not one_orientation(planes):
        return "slices of several orientations, as a localiser has"
    slices = count_positions(planes)
    if slices < min_slices:
        return f"{slices} slice(s), fewer than {min_slices}"
    return None


def series_at(path: str | os.PathLike) -> DicomSeries | None:
    """
    The series behind the path of a scan: ``ROOT::SeriesInstanceUID``, or a file or folder that holds one.

    Returns:
        None if the path is not DICOM.

    Raises:
        ScanError: if it is, but there is no such series, or more than one.
    """
    if is_series_path(path):
        return get_series(path)
    return only_series(path) if os.path.isdir(path) or (os.path.isfile(path) and is_dicom(path)) else None


def only_series(root: str | os.PathLike) -> DicomSeries:
    """
    The one series of a folder or file.

    Raises:
        ScanError: if there is none, or more than one.
    """
    index = find_series(root, min_slices=2)
    if len(index.series) == 1:
        return index.series[0]
    if index.series:
        remedy = f"name one of them as FOLDER::SeriesInstanceUID: {_listed([s.uid for s in index.series])}"
        raise ScanError(root, f"the folder holds {len(index.series)} DICOM series", remedy)
    reasons = "".join(f"; {sentence.rstrip('.')}" for sentence in index.left_out)
    raise ScanError(root, f"it holds no DICOM series{reasons}", "give the folder that holds all files of a series")


def _listed(values: Sequence[str], most: int = 5) -> str:
    return ", ".join(values[:most]) + (", ..." if len(values) > most else "")
