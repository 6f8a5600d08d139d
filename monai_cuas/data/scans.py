# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From what a user points at, a file, a folder or several, to a datalist."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from ..utils import CUASError

__all__ = ["scan_datalist"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_DICOM_SUFFIXES = (".dcm", ".ima")


def scan_datalist(path: str | os.PathLike | Sequence[Any], pattern: str = "*") -> list[dict[str, Any]]:
    """
    List the scans under one or several paths.

    A file is a scan whatever its name. A folder is searched with its subfolders for NIfTI, NRRD and MetaImage files
    whose name matches ``pattern``, and for folders with a DICOM series; hidden files are skipped.

    Args:
        path: file, folder, or list of them; a list inside the list is one scan, whose sequences are the channels, and
            a dictionary ``{"image": path, "image_channels": [0]}`` one scan of which some channels are taken.
        pattern: shell pattern for the names of files found in folders, such as ``"*FLAIR*"``.

    Returns:
        [{"image": path or list of paths, "name": unique name for the results}, ...] in sorted order, with
        "image_channels" where that was given.

    Raises:
        CUASError: if a path is missing or nothing is found.
    """
    found: list[tuple[Path, Path]] = []
    sequences: dict[Path, list[str]] = {}
    channels: dict[Path, dict[str, Any]] = {}
    for given in [path] if isinstance(path, dict) else ensure_tuple(path):
        if isinstance(given, dict):
            file = Path(given["image"]).expanduser()
            channels[file] = {"image_channels": list(given["image_channels"])}
            found.append((file, file.parent))
            continue
        if isinstance(given, (list, tuple)) and given:
            # The first names the scan; what is missing is said when it is read, so that the others go on.
            files = [Path(p).expanduser() for p in given]
            sequences[files[0]] = [str(file) for file in files]
            found.append((files[0], files[0].parent))
            continue
        root = Path(given).expanduser()
        scans = _scans(root, pattern)
        base = root if root.is_dir() and scans != [root] else root.parent
        found += [(scan, base) for scan in scans]
    unique = list(dict.fromkeys(found))
    names = _names(unique)
    return [
        {"image": sequences.get(scan, str(scan)), "name": name, **channels.get(scan, {})}
        for (scan, _), name in zip(unique, names)
    ]


def _scans(root: Path, pattern: str) -> list[Path]:
    if not root.exists():
        raise CUASError(f"{root}: no such file or folder; check the path.")
    if root.is_file():
        return [root]
    scans: list[Path] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        visible = sorted(f for f in files if not f.startswith("."))
        scans += [Path(folder, f) for f in visible if _is_volume(f) and fnmatch.fnmatch(f, pattern)]
        if any(_is_dicom(Path(folder, f)) for f in visible) and (
            pattern == "*" or fnmatch.fnmatch(Path(folder).name, pattern)
        ):
            scans.append(Path(folder))
    if not scans:
        wanted = "" if pattern == "*" else f" whose name matches {pattern!r}"
        raise CUASError(f"{root}: the folder holds no scan{wanted} (NIfTI, NRRD, MetaImage or DICOM series).")
    return sorted(scans)


def _is_volume(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def _is_dicom(path: Path) -> bool:
    """By suffix, or by the mark that a DICOM file carries after 128 bytes."""
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    if _is_volume(path.name) or path.suffix.lower() in (".json", ".txt", ".csv", ".png"):
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _stem(path: Path) -> str:
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _names(found: Sequence[tuple[Path, Path]]) -> list[str]:
    """The file's name; where two clash, with the folders in front; where they still do, with a number."""
    stems = [_stem(scan) for scan, _ in found]
    counts = Counter(stems)
    names = []
    for (scan, base), stem in zip(found, stems):
        folders = scan.relative_to(base).parts[:-1]
        names.append("_".join((*folders, stem)) if counts[stem] > 1 else stem)
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
