# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A plain folder: NIfTI and NRRD files, DICOM series folders, masks of the same name under ``labels/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from monai_cuas.io.dicom import find_series, is_dicom
from monai_cuas.utils import VOLUME_SUFFIXES, CUASError

from ..copies import is_half, same_scan
from ..file_content import is_map_by_name, look_into
from .base import ReadReport, ScanEntry, folder_of, stem_of, walk_files

__all__ = ["detect_plain", "read_files", "read_plain"]

_LABEL_ENDINGS: tuple[str, ...] = (
    "",
    "_mask",
    "_seg",
    "_label",
    "_lesion",
    "_msk",
    "_labels",
    "_lesions",
    "_roi",
    "_gt",
    "_truth",
)
_LABEL_ENDINGS += ("-mask", "-seg", "-label", ".seg", "_annotation", "_dseg", "_lesion_mask", "_segmentation")
_LABEL_FOLDERS: tuple[str, ...] = (
    "labels",
    "labelstr",
    "labelsts",
    "label",
    "masks",
    "mask",
    "seg",
    "segs",
    "segmentations",
)
_LABEL_FOLDERS += ("lesions", "lesion_masks", "annotations", "ground_truth", "gt", "rois")
_IMAGE_FOLDERS = ("images", "imagestr", "imagests", "image", "scans")
_CHANNEL = re.compile(r"_\d{4}$")


def detect_plain(folder: Path) -> bool:
    """Tell whether any volume or DICOM file lies below the folder."""
    return any(path.name.lower().endswith(VOLUME_SUFFIXES) or is_dicom(path) for path in walk_files(folder))


def _subject(path: Path, root: Path) -> str:
    """First folder below the root, else the file's own name: what belongs together in a split."""
    parts = path.relative_to(root).parts
    if not parts:
        return root.name
    return parts[0] if len(parts) > 1 or path.is_dir() else stem_of(path)


def _label(path: Path, root: Path, labels: dict[str, Path]) -> Path | None:
    """Mask of an image: the same path below labels/, with or without an ending such as _mask."""
    base = _key(path, root, _IMAGE_FOLDERS)
    # nnU-Net numbers the channels of a scan, and not its mask
    bases = dict.fromkeys((base, _CHANNEL.sub("", base)))
    names = (b + ending for b in bases for ending in _LABEL_ENDINGS)
    return next((labels[name] for name in names if name in labels), None)


def _key(path: Path, root: Path, folders: Sequence[str]) -> str:
    """Place below the root without suffix and without the first folder that only says what lies in it."""
    parts = list(path.relative_to(root).parts)
    said = next((part for part in parts[:-1] if part.lower() in folders), None)
    if said is not None:
        parts.remove(said)
    return (Path(*parts[:-1]) / stem_of(path)).as_posix()


def _base(path: Path, root: Path) -> Path:
    """The root, or the folder of images directly below it."""
    first = path.relative_to(root).parts[0]
    return root / first if first.lower() in _IMAGE_FOLDERS and (root / first).is_dir() else root


def _is_label(path: Path, root: Path, keys: set[str]) -> bool:
    """A mask by the folder that it lies in, or by its name beside the scan of that name."""
    if any(part.lower() in _LABEL_FOLDERS for part in path.relative_to(root).parts[:-1]):
        return True
    own = _key(path, root, ())
    endings = (ending for ending in _LABEL_ENDINGS if ending and own.lower().endswith(ending))
    return any(own[: -len(e)] + channel in keys for e in endings for channel in ("", "_0000"))


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
    read_files(report, VOLUME_SUFFIXES, "not NIfTI, NRRD or DICOM", dicom=True)
    return report.required("NIfTI, NRRD or DICOM files")


def _shows_lesion(label: Path) -> bool:
    """Whether anything is drawn in a mask; a picture counts, and what is a scan by its voxels does not."""
    if not label.name.lower().endswith(VOLUME_SUFFIXES):
        return True
    found = look_into(label)
    return found.ml > 0 and not found.is_scan and not (found.problem or "").startswith("it says")


def _once(report: ReadReport, images: Sequence[Path]) -> list[Path]:
    """Each scan once: no half of a pair, no copy of another, as ``x.nii`` beside ``x.nii.gz``."""
    names = {str(path) for path in images}
    kept: dict[tuple[Path, str], list[Path]] = {}
    for path in images:
        alike = kept.setdefault((path.parent, stem_of(path)), [])
        if is_half(path, names):
            continue
        if is_map_by_name(path):
            report.leave_out(path, "a map of a statistic, of parts or of a deformation by its name")
            continue
        first = next((other for other in alike if same_scan(path, other)), None)
        if first is None:
            alike.append(path)
        else:
            report.leave_out(path, f"a copy of {first.name}")
    return [path for alike in kept.values() for path in alike]


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
        if path.name.lower().endswith(suffixes):
            images.append(path)
        elif dicom and is_dicom(path):
            if path.name != "DICOMDIR":
                series.setdefault(path.parent, []).append(path)
        else:
            report.leave_out(path, otherwise)
    keys = {_key(path, root, ()) for path in images}
    drawn = [path for path in images if _is_label(path, root, keys)]
    labels.update((_key(path, root, _LABEL_FOLDERS), path) for path in drawn)
    images = [path for path in images if path not in set(drawn)]
    if drawn:
        report.warnings.append(f"{len(drawn)} of the files are masks by folder or name, such as {drawn[0]}.")
    used = set()
    for path in _once(report, images):
        label = _label(path, root, labels)
        used.add(label)
        entry = ScanEntry((path,), _subject(path, _base(path, root)), None, label)
        report.add(entry)
        # a mask on another grid is one of a lesion all the same; an empty one says that none was drawn
        if label is not None and not entry.empty_label and _shows_lesion(label):
            entry.role = "lesion"
    for where, files in series.items():
        _series(report, where, files, root)
    for label in labels.values():
        if label not in used:
            report.leave_out(label, "a mask without a scan of the same name")
