# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What every layout reader shares: the entry, the report, a safe walk through a folder, checks of headers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import SimpleITK as sitk

from monai_cuas.io.dicom import is_series_path
from monai_cuas.utils import PICTURE_SUFFIXES, VOLUME_SUFFIXES, CUASError, is_brain_mask

from ..file_content import look_into, same_grid

__all__ = ["NIFTI_SUFFIXES", "ReadReport", "ScanEntry", "check_label", "check_scan", "find_scan"]
__all__ += [
    "folder_of",
    "natural_key",
    "picture_channels",
    "sequence_names",
    "stem_of",
    "subfolders",
    "take_sequences",
    "walk_files",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES)


@dataclass
class ScanEntry:
    """One scan of one subject, by path only.

    Args:
        images: files of the scan, one per channel; a folder for a DICOM series.
        subject: what the split keeps together.
        role: ``"normal"``, ``"lesion"`` or None where the layout does not tell.
        label: lesion mask on the grid of ``images[0]``.
        session: visit of the subject.
        site: scanner or centre.
        part: ``"train"`` or ``"test"`` where the layout itself fixes it.
        extra: further keys of the datalist entry, such as ``kind``.
        empty_label: the label holds no lesion voxel.
    """

    images: tuple[Path, ...]
    subject: str
    role: str | None = None
    label: Path | None = None
    session: str | None = None
    site: str | None = None
    part: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    empty_label: bool = False


@dataclass
class ReadReport:
    """What a reader found and what it left out; iterating gives the entries.

    Args:
        layout: name of the layout.
        folder: folder that was read.
        entries: scans in a fixed order.
        left_out: ``(path, reason)`` of everything that looked like data and was not taken.
        warnings: sentences for the user.
        unpaired: masks with lesion voxels of which no scan could be told.
    """

    layout: str
    folder: Path
    entries: list[ScanEntry] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unpaired: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[ScanEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def leave_out(self, path: Path, reason: str) -> None:
        """Note that ``path`` is not used because of ``reason``."""
        self.left_out.append((path, reason))

    def add(self, entry: ScanEntry) -> None:
        """Take ``entry`` if its files can be opened; drop its label if that is on another grid."""
        for image in entry.images:
            problem = check_scan(image, channels="image_channels" in entry.extra)
            if problem:
                self.leave_out(image, problem)
                return
        if entry.label is not None:
            problem = check_label(entry.images[0], entry.label)
            if problem:
                self.leave_out(entry.label, problem)
                entry.label = None
            elif entry.label.name.lower().endswith(VOLUME_SUFFIXES):
                entry.empty_label = look_into(entry.label).ml == 0
        self.entries.append(entry)

    def required(self, expected: str) -> ReadReport:
        """Return self, or raise if nothing was found.

        Raises:
            CUASError: no entry; the sentence says what the layout looks like.
        """
        if self.entries:
            return self
        why = ""
        if self.left_out:
            path, reason = self.left_out[0]
            why = f" ({len(self.left_out)} left out, the first: {path.name}: {reason})"
        raise CUASError(f"{self.folder}: no scan of the layout '{self.layout}' found, expected {expected}{why}.")


def natural_key(text: object) -> list[tuple[int, int, str]]:
    """Sort key that puts ``patient2`` before ``patient10``."""
    parts = re.split(r"(\d+)", str(text))
    return [(1, int(part), "") if part.isdigit() and part.isascii() else (0, 0, part) for part in parts]


def folder_of(folder: str | os.PathLike) -> Path:
    """Return ``folder`` as a path.

    Raises:
        CUASError: it is missing or not a folder.
    """
    path = Path(os.path.abspath(folder))
    if not path.exists():
        raise CUASError(f"{folder}: the folder does not exist; name the folder that holds the scans.")
    if not path.is_dir():
        raise CUASError(f"{folder}: not a folder; name the folder that holds the scans.")
    return path


def subfolders(folder: Path) -> list[Path]:
    """Visible subfolders of ``folder`` in natural order (links to folders included)."""
    found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: natural_key(p.name))


def walk_files(folder: Path, report: ReadReport | None = None) -> list[Path]:
    """All visible files below ``folder`` in natural order; links are followed, each real folder once.

    Brain masks that lie beside their scans (``X_brain_mask``) are left out.

    Args:
        folder: where to begin.
        report: broken links are noted here.
    """
    seen: set[str] = set()
    found: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural_key)
        for name in sorted(names, key=natural_key):
            path = Path(root, name)
            if name.startswith(".") or name in ("Thumbs.db", "desktop.ini") or is_brain_mask(name):
                continue
            if path.is_file():
                found.append(path)
            elif report is not None:
                report.leave_out(path, "a link that leads nowhere" if path.is_symlink() else "neither file nor folder")
    return found


def stem_of(path: Path) -> str:
    """File name without the suffix, ``.nii.gz`` taken as one."""
    lower = path.name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def find_scan(folder: Path, stem: str) -> Path | None:
    """Return ``folder/stem.nii.gz`` or ``.nii``, whichever is there."""
    for suffix in NIFTI_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def check_scan(path: Path, channels: bool = False) -> str | None:
    """
    Return why the file cannot be a scan, by its header and its voxels, or None.

    Args:
        path: file, or DICOM series.
        channels: some channels are taken of a file of several volumes, of which the header alone is looked at.
    """
    if path.is_dir() or is_series_path(path):
        return None
    if path.name.lower().endswith(PICTURE_SUFFIXES):
        return "the file is empty" if path.stat().st_size == 0 else _check_picture(path)
    if channels:
        return _check_header(path)
    return look_into(path).problem if path.name.lower().endswith(VOLUME_SUFFIXES) else None


def _check_header(path: Path) -> str | None:
    if path.stat().st_size == 0:
        return "the file is empty"
    try:
        nib.load(path)
    except Exception:  # nibabel raises many kinds for a bad file, all mean the same here
        return "not a readable NIfTI file"
    return None


def _header(path: Path) -> sitk.ImageFileReader:
    """What a picture's header tells, without its pixels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def picture_channels(path: Path) -> int:
    """Number of colour channels of a picture."""
    return int(_header(path).GetNumberOfComponents())


def _check_picture(path: Path) -> str | None:
    """Return why the file cannot be a picture, from its header alone, or None."""
    try:
        header = _header(path)
    except RuntimeError:
        return "not a readable picture"
    if header.GetDimension() > 2 and any(n > 1 for n in header.GetSize()[2:]):
        return f"a stack of {header.GetSize()[2]} pictures; save it as a volume (NRRD or NIfTI) or as single pictures"
    if header.GetNumberOfComponents() in (2, 4):
        return "has a channel for transparency; save it without"
    return None


def check_label(image: Path, label: Path) -> str | None:
    """Return why the mask does not fit the image, or None (volumes and pictures are checked, DICOM is not)."""
    if all(p.name.lower().endswith(PICTURE_SUFFIXES) for p in (image, label)):
        same = _header(image).GetSize()[:2] == _header(label).GetSize()[:2]
        return None if same else f"the mask has another size than {image.name}"
    if not label.name.lower().endswith(VOLUME_SUFFIXES) or image.is_dir() or is_series_path(image):
        return None
    found = look_into(label)
    if found.problem is not None and not found.kind:
        return found.problem
    if found.problem is not None and found.problem.startswith("it says"):
        return found.problem
    if found.is_scan:
        return "named as a mask, but its voxels are those of a scan"
    if image.name.lower().endswith(VOLUME_SUFFIXES) and not same_grid(image, label):
        return f"the mask is on another grid than {image.name}; choose a sequence on the mask's grid or resample it"
    return None


def take_sequences(
    report: ReadReport, where: Path, found: dict[str, Path], sequences: Sequence[str]
) -> tuple[Path, ...] | None:
    """Return the asked sequences in order, or note what is missing and return None."""
    missing = [name for name in sequences if name not in found]
    if missing:
        report.leave_out(where, f"no {', '.join(missing)}" + (f" (has {', '.join(found)})" if found else ""))
        return None
    return tuple(found[name] for name in sequences)


def sequence_names(sequences: Sequence[str] | None, known: dict[str, Any], default: str, layout: str) -> list[str]:
    """Return the asked sequences in lower case.

    Raises:
        CUASError: a name that the layout does not have.
    """
    names = [name.lower() for name in (sequences or [default])]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CUASError(
            f"The layout '{layout}' has no sequence '{unknown[0]}'; choose from {', '.join(sorted(known))}."
        )
    return names
