# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""BIDS and its kin: ``sub-*/[ses-*/][anat/]*_<suffix>.nii.gz``, lesion masks under ``derivatives/``.

Covers ATLAS v2, ISLES'22 (``rawdata/``, ``_msk``) and most hospital exports.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_cuas.utils import CUASError

from ..file_content import look_into
from .base import NIFTI_SUFFIXES, ReadReport, ScanEntry, folder_of, stem_of, subfolders, take_sequences, walk_files
from .masks import names_anatomy

__all__ = ["detect_bids", "read_bids"]

_ALIASES = {"t1w": "t1", "t2w": "t2", "pdw": "pd"}
_MASK = re.compile(r"(?:^|_)(?:msk|mask|dseg|roi|lesion|label-[A-Za-z]*lesion[A-Za-z]*|label-L)(?:_|$)", re.IGNORECASE)
_NOT_LESION = re.compile(
    r"(?:desc|label)-[A-Za-z]*(?:brain|tissue|aseg|aparc\w*|csf|gm|wm|head|skull)(?:_|$)"
    r"|(?:^|_)(?:brain|bet|head|skull|wm|gm|csf)(?:_|$)|(?:brain|head|skull|deface)_?mask",
    re.IGNORECASE,
)
# With contrast agent: by its own entity, or by the words that sites put into others.
_ENHANCED = re.compile(r"ce-|(?:acq|rec|desc)-\w*(?:gad|gd|post(?!op)|contrast|ce$)")
# Phase and the like, of which no intensity can be told.
_NO_MAGNITUDE = re.compile(r"part-(?:phase|real|imag)", re.IGNORECASE)
# No lesion is that large; a mask of the brain is.
_MOST_LESION_ML = 500.0
_HEALTHY = {"control", "controls", "healthy", "healthy control", "healthy controls", "hc", "ctl", "ctrl", "normal"}
_PATHOLOGICAL = {"patient", "patients", "lesion", "case"}
_Key = tuple[str, str]


def _raw(folder: Path) -> Path:
    return folder / "rawdata" if (folder / "rawdata").is_dir() else folder


def _subject_folders(folder: Path) -> list[Path]:
    """``sub-*`` folders below ``folder``; ATLAS v2 puts a cohort folder between."""
    direct = [sub for sub in subfolders(folder) if sub.name.startswith("sub-")]
    if direct:
        return direct
    between = [sub for sub in subfolders(folder) if sub.name not in ("derivatives", "code", "sourcedata")]
    return [sub for cohort in between for sub in subfolders(cohort) if sub.name.startswith("sub-")]


def detect_bids(folder: Path) -> bool:
    """Tell whether there are ``sub-*`` folders (in ``rawdata/`` or one level deeper too)."""
    return bool(_subject_folders(_raw(folder)))


def _key(path: Path, root: Path) -> _Key | None:
    """Subject and session of a file, from its folders, else from its name."""
    parts = [*path.relative_to(root).parts[:-1], *path.name.split("_")]
    subject = next((p for p in parts if p.startswith("sub-")), None)
    session = next((p for p in parts if p.startswith("ses-")), "")
    return (subject[4:], session[4:]) if subject else None


def _sequence(path: Path) -> str:
    """The suffix, and "ce" behind it with contrast agent: T1w after gadolinium is another sequence than T1w."""
    *entities, suffix = stem_of(path).lower().split("_")
    contrast = "ce" if any(_ENHANCED.match(entity) for entity in entities) else ""
    return _ALIASES.get(suffix, suffix) + contrast


def _is_mask(path: Path) -> bool:
    stem = stem_of(path)
    return bool(_MASK.search(stem)) and not _NOT_LESION.search(stem) and not names_anatomy(stem)


def _is_derived(path: Path) -> bool:
    """Masks of the brain, of tissue or of the face, which are neither scans nor lesion masks."""
    stem = stem_of(path).lower()
    return stem.endswith(("mask", "msk", "seg")) and (bool(_NOT_LESION.search(stem)) or names_anatomy(stem))


def _is_whole_brain(path: Path) -> bool:
    try:
        image: Any = nib.load(path)
        voxel = abs(float(np.linalg.det(image.affine[:3, :3])))
        return float((np.asarray(image.dataobj) > 0).sum()) * voxel / 1000 > _MOST_LESION_ML
    except (OSError, ValueError, EOFError, zlib.error, nib.filebasedimages.ImageFileError):
        # What is damaged is said where it is read.
        return False


def _groups(folder: Path, report: ReadReport) -> dict[str, str]:
    """Role by subject from the ``group`` column of ``participants.tsv``, where there is one."""
    for table in (folder / "participants.tsv", _raw(folder) / "participants.tsv"):
        if table.is_file():
            with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            roles: dict[str, str] = {}
            others: dict[str, list[str]] = {}
            for row in rows:
                subject = (row.get("participant_id") or "").removeprefix("sub-")
                group = (row.get("group") or "").strip().lower()
                if group in _HEALTHY:
                    roles[subject] = "normal"
                elif group in _PATHOLOGICAL:
                    roles[subject] = "lesion"
                elif group and group != "n/a":
                    others.setdefault(group, []).append(subject)
            for group, subjects in others.items():
                report.warnings.append(
                    f"{table.name}: {len(subjects)} subjects are of the group '{group}', such as {subjects[0]}; "
                    "nothing tells whether they are healthy."
                )
            return roles
    return {}


def _masks(report: ReadReport, files: list[Path], root: Path) -> dict[_Key, Path]:
    masks: dict[_Key, Path] = {}
    for path in files:
        key = _key(path, root)
        if key is None or not path.name.endswith(NIFTI_SUFFIXES) or not _is_mask(path):
            continue
        if _is_whole_brain(path):
            report.leave_out(path, "a mask of the brain and not of a lesion")
        elif key in masks:
            report.leave_out(path, f"a second mask of the same scan, {masks[key].name} is used")
        else:
            masks[key] = path
    return masks


def read_bids(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read a BIDS folder.

    A scan with a lesion mask is ``lesion``; else the ``group`` column of participants.tsv tells (control, healthy
    or patient); else the role stays open, since an unlabelled test case is no healthy subject.

    Args:
        folder: dataset root.
        sequences: BIDS suffixes in lower case (t1 = T1w, t1ce = T1w with contrast agent (``ce-``), t2 = T2w, flair,
            dwi, adc, ...); default: the first of
            flair, t1, t2 that is there.

    Raises:
        CUASError: nothing fits.
    """
    report = ReadReport("bids", folder_of(folder))
    raw = _raw(report.folder)
    scans: dict[_Key, dict[str, Path]] = {}
    files = [path for sub in _subject_folders(raw) for path in walk_files(sub, report)]
    order = {path.parent: number for number, path in enumerate(files)}
    # of several in a folder the one with the plainest name
    for path in sorted(files, key=lambda path: (order[path.parent], stem_of(path).count("_"))):
        key = _key(path, raw)
        if key is not None and _NO_MAGNITUDE.search(path.name):
            report.leave_out(path, "the phase, or real or imaginary part, and no magnitude")
            continue
        if key is None or not path.name.endswith(NIFTI_SUFFIXES) or _is_mask(path) or _is_derived(path):
            continue
        found = scans.setdefault(key, {})
        if _sequence(path) in found:
            report.leave_out(
                path, f"a second {_sequence(path)} of the same scan, {found[_sequence(path)].name} is used"
            )
        else:
            found[_sequence(path)] = path
    derived = report.folder / "derivatives"
    extra = walk_files(derived, report) if derived.is_dir() else []
    masks = _masks(report, [*extra, *files], report.folder)
    names = _chosen(sequences, scans, report.folder)
    groups = _groups(report.folder, report)
    for key, found in scans.items():
        images = take_sequences(report, raw / f"sub-{key[0]}" / (f"ses-{key[1]}" if key[1] else ""), found, names)
        if images:
            drawn = key in masks and look_into(masks[key]).ml > 0
            role = "lesion" if drawn else groups.get(key[0])
            report.add(ScanEntry(images, key[0], role, masks.get(key), session=key[1] or None))
    for key, mask in masks.items():
        if key not in scans:
            report.leave_out(mask, "a mask without a scan")
    return report.required("sub-*/[ses-*/]anat/*_T1w.nii.gz")


def _chosen(sequences: Sequence[str] | None, scans: dict[_Key, dict[str, Path]], folder: Path) -> list[str]:
    present = {name for found in scans.values() for name in found}
    if sequences:
        names = [_ALIASES.get(name.lower(), name.lower()) for name in sequences]
        unknown = [name for name in names if name not in present]
        if unknown and present:
            raise CUASError(f"{folder}: no scan has the sequence '{unknown[0]}'; found {', '.join(sorted(present))}.")
        return names
    for name in ("flair", "t1", "t2"):
        if name in present:
            return [name]
    if present:
        raise CUASError(f"{folder}: no FLAIR, T1w or T2w; name the sequences, found {', '.join(sorted(present))}.")
    return ["t1"]
