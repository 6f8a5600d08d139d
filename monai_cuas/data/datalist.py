# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From scans that a reader found to one Decathlon-style ``dataset.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai.data import load_decathlon_datalist

from monai_cuas.utils import CUASError, write_json

from .layouts import ReadReport, ScanEntry
from .subjects import require_separate_subjects

__all__ = ["LISTS", "assign_parts", "datalist_entry", "load_datalist", "settle_roles", "write_datalist"]

LISTS = ("training", "calibration", "validation", "test_normal", "test_lesion")


def settle_roles(report: ReadReport, role: str = "auto") -> list[ScanEntry]:
    """Return the entries whose role is known; a role that is given overrides the reader's.

    Args:
        report: what a reader found; what stays without role is noted as left out.
        role: ``"normal"``, ``"lesion"`` or ``"auto"`` (the reader's).

    Raises:
        CUASError: ``role`` is none of these, or calls scans with a lesion mask normal.
    """
    if role not in ("normal", "lesion", "auto"):
        raise CUASError(f"Unknown role '{role}'; choose normal, lesion or auto.")
    settled = []
    if role == "normal" and report.unpaired:
        raise CUASError(
            f"{report.unpaired[0]}: a mask with lesion voxels, and nothing tells of which scan; name it as its scan, "
            "such as X_mask.nii.gz beside X.nii.gz, or take it out of the folder."
        )
    for entry in report.entries:
        if role == "normal" and (entry.label is not None and not entry.empty_label or entry.role == "lesion"):
            raise CUASError(f"{entry.images[0]}: has a lesion, so it cannot be a normal scan; use --role auto.")
        if role != "auto":
            entry.role = role
        if entry.role is None:
            report.leave_out(entry.images[0], "nothing tells whether it is normal; name --role normal or lesion")
        else:
            settled.append(entry)
    return settled


def assign_parts(entries: Iterable[ScanEntry], split: dict[str, list[str]]) -> dict[str, list[ScanEntry]]:
    """Put every entry into its list, so that no subject is both trained and tested on.

    As a rule the split is of normal subjects; every scan of a subject who has a lesion in any of them is tested on. A
    split with a part "test_lesion" is one of patients: their lesion-free slices are trained, calibrated and validated
    on, so that a lesion scan without mask has no place there. Scans that the layout keeps for testing are tested on,
    and so are all others of their subjects. What the split does not name has no place either.

    Raises:
        CUASError: the split has a part that no list is named after.
    """
    entries = list(entries)
    unknown = [part for part in split if part not in LISTS]
    if unknown:
        raise CUASError(f"The split has the part '{unknown[0]}'; known are {', '.join(LISTS)}.")
    tested = {entry.subject for entry in entries if entry.part == "test"}
    if "test_lesion" not in split:
        tested |= {entry.subject for entry in entries if entry.role == "lesion"}
    part_of = {subject: part for part, subjects in split.items() for subject in subjects}
    lists: dict[str, list[ScanEntry]] = {name: [] for name in LISTS}
    for entry in entries:
        test = "test_lesion" if entry.role == "lesion" else "test_normal"
        part = test if entry.subject in tested else part_of.get(entry.subject)
        if part is not None and part.startswith("test"):
            lists[test].append(entry)
        elif part is not None and (entry.role == "normal" or entry.label is not None):
            lists[part].append(entry)
    return lists


def _path(path: Path, base: Path) -> str:
    """Relative to the datalist's folder if below it, else absolute, so that the file can move with its data.

    A DICOM series, ``FOLDER::UID``, is always absolute: MONAI makes only what exists on disk absolute again.
    """
    return path.relative_to(base).as_posix() if path.is_relative_to(base) and path.exists() else os.path.abspath(path)


def datalist_entry(entry: ScanEntry, base: Path) -> dict[str, Any]:
    """Return the dictionary of one scan; several sequences become a list of paths (channels)."""
    images = [_path(path, base) for path in entry.images]
    result: dict[str, Any] = {"image": images[0] if len(images) == 1 else images}
    if entry.label is not None:
        result["label"] = _path(entry.label, base)
    elif entry.role == "lesion" and "slice_labels" not in entry.extra:
        result["scan_label"] = 1  # else evaluation would take a scan without mask for a normal one
    result["subject"] = entry.subject
    for key, value in (("session", entry.session), ("site", entry.site)):
        if value:
            result[key] = value
    return {**result, **entry.extra}


def write_datalist(
    lists: dict[str, list[ScanEntry]],
    output: str | os.PathLike,
    name: str = "scans",
    description: str = "",
    sequences: Sequence[str] = ("scan",),
) -> None:
    """Write ``dataset.json``, whole or not at all.

    Args:
        lists: entries by the names of :data:`LISTS`.
        output: the file.
        name: of the data set.
        description: one line.
        sequences: names of the channels.

    Raises:
        CUASError: the file cannot be written.
    """
    path = Path(os.path.abspath(output))
    content: dict[str, Any] = {
        "name": name,
        "description": description,
        "modality": {str(i): sequence for i, sequence in enumerate(sequences)},
        "labels": {"0": "background", "1": "lesion"},
        "tensorImageSize": "3D",
    }
    for part in LISTS:
        content["num" + part.title().replace("_", "")] = len(lists.get(part, []))
    for part in LISTS:
        content[part] = [datalist_entry(entry, path.parent) for entry in lists.get(part, [])]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    except OSError as error:
        raise CUASError(f"{path}: cannot be written ({error.strerror}); name another output.") from error


def load_datalist(path: str | os.PathLike, key: str, allow_empty: bool = False) -> list[dict[str, Any]]:
    """
    Entries of one list of a Decathlon-style ``dataset.json``, with absolute paths.

    Args:
        path: the file.
        key: "training", "calibration", "validation", "test_normal" or "test_lesion".
        allow_empty: give an empty list where the key is missing or empty.

    Raises:
        CUASError: if the file is missing or broken, the list is missing or empty, or a subject is in two lists.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except OSError as error:
        raise CUASError(
            f"{path}: there is no such data list; give --dataset_dir a folder with dataset.json."
        ) from error
    except ValueError as error:
        raise CUASError(f"{path}: this is no valid JSON ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name) or [], list) for name in (*LISTS, key)):
        raise CUASError(f"{path}: this is no data list; it must be an object with lists such as 'training'.")
    lists = {name: content.get(name) or [] for name in LISTS}
    require_separate_subjects(lists, path, os.path.dirname(os.path.abspath(path)))
    if not content.get(key):
        if allow_empty:
            return []
        there = ", ".join(f"{name} ({len(entries)})" for name, entries in lists.items() if entries) or "no scan"
        raise CUASError(f"{path}: the list '{key}' is missing or empty, and is needed here; it has {there}.")
    loaded = load_decathlon_datalist(str(path), is_segmentation=True, data_list_key=key)
    for entry in loaded:
        if "brain_mask_file" in entry:
            entry["brain_mask_file"] = os.path.join(os.path.dirname(os.path.abspath(path)), entry["brain_mask_file"])
    # MONAI turns every string that happens to name a file into a path, such as the subject "patient07"
    paths = ("image", "label", "brain_mask_file")
    return [{**entry, **{k: item[k] for k in paths if k in item}} for entry, item in zip(content[key], loaded)]
