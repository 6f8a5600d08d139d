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
from ..utils import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    CUASError,
    ScanError,
    is_brain_mask,
    scan_stem,
    walk_files,
)
from .copies import is_half, same_scan
from .file_content import is_map_by_name, look_into, may_be_mask

__all__ = ["scan_datalist"]

logger = logging.getLogger(__name__)

_SUFFIXES = VOLUME_SUFFIXES
# Volumes that nothing here reads; a folder of them should not look empty.
_UNREAD = (".nii.bz2", ".nii.xz", ".nii.zst", ".mnc", ".mnc.gz", ".par", ".rec", ".v", ".gipl", ".vtk", ".nrrd.gz")
# Endings of what is drawn or found in a scan of the same name that lies beside it.
_DRAWN = ("seg", "mask", "label", "labels", "lesion", "lesions", "roi", "gt", "anomaly", "dseg", "annotation", "truth")


def scan_datalist(
    path: str | os.PathLike | Sequence[Any],
    pattern: str = "*",
    dicom_where: Mapping[str, str] | None = None,
    dicom_min_slices: int = 10,
    pictures: bool = False,
) -> list[dict[str, Any]]:
    """
    List the scans under one or several paths.

    A file is a scan whatever its name. A folder is searched with its subfolders, links followed, for NIfTI, Analyze,
    MGH, NRRD and MetaImage files whose name matches ``pattern`` and is not that of a brain mask (``X_brain_mask``), of
    a mask or map of a scan beside it (``X_seg``, ``X_mask``, ``X_anomaly``), nor a mask by its voxels, and for DICOM
    series, wherever their files lie; hidden files are skipped. What is DICOM and no scan, such as a localiser, is left
    out and logged with the reason.

    Args:
        path: file, folder, DICOM series as ``FOLDER::SeriesInstanceUID``, or list of them; a list inside the list is
            one scan, whose sequences are the channels, and a dictionary ``{"image": path, "image_channels": [0]}`` one
            scan of which some channels are taken; "brain_mask_file" in it names the brain mask, "name" the scan, and
            "image_notes" are added to its notes.
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
    notes: tuple[str, ...] = ()

    def entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"image": self.image[0] if len(self.image) == 1 else list(self.image), "name": name}
        if self.channels is not None:
            entry["image_channels"] = list(self.channels)
        if self.brain_mask is not None:
            entry["brain_mask_file"] = self.brain_mask
        if self.notes:
            entry["image_notes"] = list(self.notes)
        return entry


def _expanded(path: str | os.PathLike) -> str:
    return str(Path(path).expanduser())


def _described(given: Mapping[str, Any]) -> _Scan:
    files = tuple(_expanded(p) for p in ensure_tuple(given["image"]))
    channels = tuple(given["image_channels"]) if "image_channels" in given else None
    mask = _expanded(given["brain_mask_file"]) if given.get("brain_mask_file") else None
    scan = _scan(files[0])._replace(image=files, channels=channels, brain_mask=mask)
    name, notes = given.get("name"), tuple(given.get("image_notes", ()))
    return scan._replace(notes=notes, name=str(name or scan.name), long_name=str(name or scan.long_name))


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
    if not root.is_dir():
        raise CUASError(f"{root}: neither a file nor a folder; give a file or a folder.")
    suffixes = PICTURE_SUFFIXES if pictures else _SUFFIXES
    volumes, dicom_files, others = [], [], []
    for folder, names in walk_files(root):
        for path in (Path(folder, name) for name in names):
            if not path.is_file():
                logger.warning(
                    "%s: passed over, as it is %s.", path, "a broken link" if path.is_symlink() else "no file"
                )
            elif path.name.lower().endswith(suffixes):
                if fnmatch.fnmatch(path.name, pattern) and not is_brain_mask(path):
                    volumes.append(path)
            elif not pictures and is_dicom(path):
                dicom_files.append(path)
            elif path.name.lower().endswith(_UNREAD):
                others.append(path)
    if others:
        logger.warning(
            "%s: passed over %d file(s) of a kind that is not read, such as %s.", root, len(others), others[0]
        )
    return (sorted(volumes) if pictures else _once(root, sorted(volumes))), dicom_files


def _once(root: Path, volumes: Sequence[Path]) -> list[Path]:
    """Each scan once, and nothing that was drawn in one: what is passed over is said."""
    names = {str(path) for path in volumes}
    kept: list[Path] = []
    drawn, twice = [], []
    # A file goes before the links to it.
    for path in sorted(volumes, key=lambda path: (path.is_symlink(), path)):
        if is_half(path, names):
            continue
        if _is_drawn(path, volumes) or (len(volumes) > 1 and is_map_by_name(path)):
            drawn.append(path)
        elif any(
            same_scan(path, other)
            for other in kept
            if scan_stem(str(other)) == scan_stem(str(path)) or path.is_symlink()
        ):
            twice.append(path)
        else:
            kept.append(path)
    by_voxels = [path for path in kept if len(kept) > 1 and _is_mask(path)]
    if len(by_voxels) < len(kept):
        # a folder of masks alone is refused file by file, with the reason
        kept, drawn = [path for path in kept if path not in set(by_voxels)], drawn + by_voxels
    for what, paths in (
        ("that are masks or maps of a scan beside them, or masks by their voxels or maps by their names", drawn),
        ("that are copies of another", twice),
    ):
        if paths:
            logger.warning("%s: passed over %d file(s) %s, such as %s.", root, len(paths), what, paths[0])
    return sorted(kept)


def _is_drawn(path: Path, volumes: Sequence[Path]) -> bool:
    """``x_seg`` beside ``x``, 3D Slicer's ``x.seg.nrrd``, ``x_anomaly`` and ``x_mask`` among this package's results."""
    stem = os.path.basename(scan_stem(str(path)))
    short, _, ending = stem.replace(".seg", "_seg").rpartition("_")
    if not short or ending.lower() not in _DRAWN:
        return False
    if stem.lower().endswith(".seg") or (path.parent / "results.csv").is_file() and ending in ("anomaly", "mask"):
        return True
    stems = (os.path.basename(scan_stem(str(other))) for other in volumes if other.parent == path.parent)
    return any(
        other == short or other.rpartition("_")[0] == short and other.rpartition("_")[2] == "0000" for other in stems
    )


def _is_mask(path: Path) -> bool:
    """By its voxels, whatever its name; only what shrinks as masks do is looked into."""
    return may_be_mask(path) and look_into(path).kind == "mask"


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
    """The short name; where two clash, the long one; where they still do, with a number that no other name has."""
    counts = Counter(scan.name for scan in scans)
    wanted = [scan.long_name if counts[scan.name] > 1 else scan.name for scan in scans]
    taken, out = set(wanted), []
    seen: Counter[str] = Counter()
    for name in wanted:
        seen[name] += 1
        unique, number = name, seen[name]
        while number > 1 and unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        out.append(unique)
    return out
