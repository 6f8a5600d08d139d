# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A plain folder: NIfTI and NRRD files, DICOM series folders, masks of the same name under ``labels/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_cuas.io.dicom import find_series, is_dicom
from monai_cuas.utils import CUASError

from .base import NIFTI_SUFFIXES, ReadReport, ScanEntry, folder_of, stem_of, walk_files

__all__ = ["detect_plain", "read_files", "read_plain"]

_VOLUMES = (*NIFTI_SUFFIXES, ".nrrd")
_LABEL_ENDINGS = ("", "_mask", "_seg", "_label", "_lesion", "_msk")


def detect_plain(folder: Path) -> bool:
    """Tell whether any volume or DICOM file lies below the folder."""
    return any(path.name.lower().endswith(_VOLUMES) or is_dicom(path) for path in walk_files(folder))


def _subject(path: Path, root: Path) -> str:
    """First folder below the root, else the file's own name: what belongs together in a split."""
    parts = path.relative_to(root).parts
    if not parts:
        return root.name
    return parts[0] if len(parts) > 1 or path.is_dir() else stem_of(path)


def _label(path: Path, root: Path, labels: dict[str, Path]) -> Path | None:
    """Mask of an image: the same path below labels/, with or without an ending such as _mask."""
    place = path.relative_to(root)
    if place.parts[0] == "images":
        place = Path(*place.parts[1:])
    base = (place.parent / stem_of(place)).as_posix() if place.parts else ""
    return next((labels[base + ending] for ending in _LABEL_ENDINGS if base + ending in labels), None)


def _series(report: ReadReport, folder: Path, files: Sequence[Path], root: Path) -> None:
    """Add the DICOM series of one folder. Of the header the SeriesInstanceUID is kept and nothing else."""
    try:
        index = find_series(folder, files)
    except CUASError as error:
        report.leave_out(folder, str(error))
        return
    for sentence in index.left_out:
        report.warnings.append(sentence)
    if not index.series:
        report.leave_out(folder, "no readable DICOM series of a scan")
    patients: dict[str, int] = {}
    for series in index.series:
        # the folder is the better name where it is enough: it can be opened
        image = folder if len(index.series) == 1 and not index.left_out else Path(series.path)
        patient = patients.setdefault(series.headers[0].owner[0], len(patients) + 1)
        # people are told apart by their identity and called by a number, as the identity must not be written
        subject = f"{root.name}_{patient}" if folder == root and len(index.series) > 1 else _subject(folder, root)
        report.add(ScanEntry((image,), subject, extra={"series_uid": series.uid}))


def read_plain(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read a plain folder; what has a mask is ``lesion``, of everything else the role is open.

    Images lie in the folder itself, in subfolders (the first one names the subject) or under ``images/``.

    Args:
        folder: where the files are.
        sequences: not known here; must be left out.

    Raises:
        CUASError: nothing found, or sequences asked for.
    """
    if sequences:
        raise CUASError("The layout 'plain' has no sequence names; use 'bids' for several sequences of a subject.")
    report = ReadReport("plain", folder_of(folder))
    read_files(report, _VOLUMES, "not NIfTI, NRRD or DICOM", dicom=True)
    return report.required("NIfTI, NRRD or DICOM files")


def read_files(report: ReadReport, suffixes: tuple[str, ...], otherwise: str, dicom: bool = False) -> None:
    """Add the images below the report's folder, with their masks.

    Args:
        report: empty, with its folder.
        suffixes: of the files that are images.
        otherwise: why other files are left out.
        dicom: take DICOM series too.
    """
    root = report.folder
    labels: dict[str, Path] = {}
    images: list[Path] = []
    series: dict[Path, list[Path]] = {}
    for path in walk_files(root, report):
        place = path.relative_to(root)
        if path.name.lower().endswith(suffixes):
            if place.parts[0] == "labels":
                inner = Path(*place.parts[1:])
                labels[(inner.parent / stem_of(inner)).as_posix()] = path
            else:
                images.append(path)
        elif dicom and is_dicom(path):
            if path.name != "DICOMDIR":
                series.setdefault(path.parent, []).append(path)
        else:
            report.leave_out(path, otherwise)
    base = root / "images" if (root / "images").is_dir() and all("images" in p.parts for p in images) else root
    used = set()
    for path in images:
        label = _label(path, root, labels)
        used.add(label)
        report.add(ScanEntry((path,), _subject(path, base), "lesion" if label else None, label))
    for where, files in series.items():
        _series(report, where, files, root)
    for label in labels.values():
        if label not in used:
            report.leave_out(label, "a mask without a scan of the same name")
