# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From what a user points at, a file, a folder or several, to a datalist."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai.utils import ensure_tuple

from ..io.dicom.header import is_dicom
from ..io.dicom.index import find_series, is_series_path, split_series_path
from ..utils import PICTURE_SUFFIXES, CUASError, ScanError, is_brain_mask

__all__ = ["scan_datalist"]

logger = logging.getLogger(__name__)

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def scan_datalist(
    path: str | os.PathLike | Sequence[Any],
    pattern: str = "*",
    dicom_where: Mapping[str, str] | None = None,
    dicom_min_slices: int = 10,
    pictures: bool = False,
) -> list[dict[str, Any]]:
    """
    List the scans under one or several paths.

    A file is a scan whatever its name. A folder is searched with its subfolders for NIfTI, NRRD and MetaImage files
    whose name matches ``pattern`` and is not that of a brain mask (``X_brain_mask``), and for DICOM series, wherever
    their files lie; hidden files are skipped. What is DICOM and no scan, such as a localiser, is left out and logged
    with the reason.

    Args:
        path: file, folder, DICOM series as ``FOLDER::SeriesInstanceUID``, or list of them; a list inside the list is
            one scan, whose sequences are the channels, and a dictionary ``{"image": path, "image_channels": [0]}`` one
            scan of which some channels are taken; "brain_mask_file" in it names the brain mask.
        pattern: shell pattern for the names of files found in folders, such as ``"*FLAIR*"``; for DICOM, whose file
            names tell nothing, of the SeriesDescription.
        dicom_where: shell patterns by DICOM keyword, such as ``{"SeriesDescription": "*FLAIR*", "Modality": "MR"}``.
        dicom_min_slices: a DICOM series of fewer slices is left out.
        pictures: look for pictures (PNG, JPEG, TIFF) in folders, not for volumes.

    Returns:
        [{"image": path or list of paths, "name": unique name for the results}, ...] in sorted order, with
        "image_channels" where that was given. A DICOM series has the path ``FOLDER::SeriesInstanceUID``, with the
        folder that was given, and its SeriesInstanceUID for a name.

    Raises:
        CUASError: if a path is missing or nothing is found.
    """
    where = {**({} if pattern == "*" else {"SeriesDescription": pattern}), **(dicom_where or {})}
    found: list[_Scan] = []
    for given in [path] if isinstance(path, dict) else ensure_tuple(path):
        if isinstance(given, dict):
            found.append(_described(given))
            continue
        if isinstance(given, (list, tuple)) and given:
            # The first names the scan; what is missing is said when it is read, so that the others go on.
            files = [_expanded(p) for p in given]
            found.append(_scan(files[0])._replace(image=tuple(files)))
        else:
            found += _scans(Path(given).expanduser(), pattern, where, dicom_min_slices, pictures)
    unique = list(dict.fromkeys(found))
    return [scan.entry(name) for scan, name in zip(unique, _names(unique))]


class _Scan(NamedTuple):
    image: tuple[str, ...]
    name: str
    long_name: str
    channels: tuple[int, ...] | None = None
    brain_mask: str | None = None

    def entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"image": self.image[0] if len(self.image) == 1 else list(self.image), "name": name}
        if self.channels is not None:
            entry["image_channels"] = list(self.channels)
        if self.brain_mask is not None:
            entry["brain_mask_file"] = self.brain_mask
        return entry


def _expanded(path: str | os.PathLike) -> str:
    return str(Path(path).expanduser())


def _described(given: Mapping[str, Any]) -> _Scan:
    files = tuple(_expanded(p) for p in ensure_tuple(given["image"]))
    channels = tuple(given["image_channels"]) if "image_channels" in given else None
    mask = _expanded(given["brain_mask_file"]) if given.get("brain_mask_file") else None
    return _scan(files[0])._replace(image=files, channels=channels, brain_mask=mask)


def _scan(file: str, root: Path | None = None) -> _Scan:
    """A volume, named with the folders below ``root`` if its own name is not enough; or a DICOM series."""
    if is_series_path(file):
        uid = split_series_path(file)[1]
        return _Scan((file,), uid, uid)
    stem = _stem(Path(file))
    folders = Path(file).relative_to(root).parts[:-1] if root is not None and root.is_dir() else ()
    return _Scan((file,), stem, "_".join((*folders, stem)))


def _scans(root: Path, pattern: str, where: Mapping[str, str], min_slices: int, pictures: bool) -> list[_Scan]:
    if is_series_path(root):
        return [_scan(str(root))]
    volumes, dicom_files = _files(root, pattern, pictures)
    series, left_out = _series(root, dicom_files, where, min_slices)
    if not volumes and not series:
        kinds = "PNG, JPEG or TIFF" if pictures else "NIfTI, NRRD, MetaImage or DICOM series"
        raise CUASError(_nothing(root, pattern, kinds, left_out))
    return [_scan(str(file), root) for file in [*volumes, *series]]


def _files(root: Path, pattern: str, pictures: bool) -> tuple[list[Path], list[Path]]:
    """Volumes (or pictures) and DICOM files under a path."""
    if not root.exists():
        raise CUASError(f"{root}: no such file or folder; check the path.")
    if root.is_file():
        return ([], [root]) if is_dicom(root) else ([root], [])
    suffixes = PICTURE_SUFFIXES if pictures else _SUFFIXES
    volumes, dicom_files = [], []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        visible = sorted(f for f in files if not f.startswith("."))
        wanted = [f for f in visible if fnmatch.fnmatch(f, pattern) and not is_brain_mask(f)]
        volumes += [Path(folder, f) for f in wanted if f.lower().endswith(suffixes)]
        others = [] if pictures else [Path(folder, f) for f in visible if not f.lower().endswith(suffixes)]
        dicom_files += [file for file in others if is_dicom(file)]
    return sorted(volumes), dicom_files


def _series(
    root: Path, files: Sequence[Path], where: Mapping[str, str], min_slices: int
) -> tuple[list[str], tuple[str, ...]]:
    """Path of each DICOM series among files, and why others are left out."""
    if not files:
        return [], ()
    try:
        index = find_series(root, files, min_slices, where)
        found, left_out = [series.path for series in index.series], index.left_out
    except ScanError as error:
        # Without pydicom the other scans go on.
        found, left_out = [], (str(error),)
    for sentence in left_out:
        logger.warning(sentence)
    return found, left_out


def _nothing(root: Path, pattern: str, kinds: str, left_out: Sequence[str]) -> str:
    wanted = "" if pattern == "*" else f" whose name or description matches {pattern!r}"
    reasons = "".join(f" {sentence}" for sentence in left_out)
    return f"{root}: there is no scan{wanted} ({kinds}).{reasons}"


def _stem(path: Path) -> str:
    for suffix in (*_SUFFIXES, *PICTURE_SUFFIXES):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _names(scans: Sequence[_Scan]) -> list[str]:
    """The short name; where two clash, the long one; where they still do, with a number."""
    counts = Counter(scan.name for scan in scans)
    seen: Counter[str] = Counter()
    out = []
    for scan in scans:
        name = scan.long_name if counts[scan.name] > 1 else scan.name
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
