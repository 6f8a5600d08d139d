# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Masks that a layout does not name: found by their voxels, given to their scans.

Whoever has a mask with lesion voxels is no normal subject, whatever the file is called and wherever it lies. A mask
belongs to the scans whose names share its numbers and words; else to those of its folder, if they are of one subject;
else to the only scan on its grid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from monai_cuas.io.dicom import is_series_path
from monai_cuas.transforms.io.content import MOST_LESION_ML
from monai_cuas.utils import VOLUME_SUFFIXES, scan_stem

from ..file_content import look_into, may_be_mask, same_grid
from .base import ReadReport, ScanEntry, walk_files

__all__ = ["claim_masks", "names_anatomy"]

_Ids = tuple[str, ...]

# What says what a file is, and not whose.
_GENERIC = re.compile(
    r"(?<![a-z0-9])(?:t1(?:w|ce|c|n|gd|km|ks|wks)?|t2(?:w|f)?|flair|pdw?|dwi|adc|swi|ct|mr|mri|mra|fl|"
    r"masks?|msk|segs?|segmentations?|segm|labels?|labelst[rs]|lesions?|rois?|gt|truth|ground|dseg|annotations?|annot|"
    r"manual|consensus|final|wmh|tumou?rs?|stroke|infarcts?|core|edema|bin|binary|probs?|probability|soft|thr|"
    r"images?|imagest[rs]|scans?|anat|data|raw|rawdata|derivatives|nii|brain|stripped|bet|reg|mni|space|ses|"
    r"training|train|test|validation|patients?|controls?|normals?|rater)(?![a-z0-9])"
)
_LESION = re.compile(r"lesion|tumou?r|infarct|stroke|wmh|h(?:a?e)morr|bleed|plaque|edema|oedema|gliom|metasta")
# More than all that names share without one being in the other.
_NAMED = 100
_CHANNEL = re.compile(r"_\d{4}$")
# Masks of what is no lesion.
_ANATOMY = re.compile(
    r"brain|bet|skull|head|scalp|face|tissue|aseg|aparc|atlas|parc|ventric|hippoc|thalam|cortex|cerebell|vessel|eyes?_|"
    r"(?:^|[_-])(?:csf|gm|wm|ribbon|air|fov|valid)(?:[_.-]|$)"
)


def names_anatomy(name: str) -> bool:
    """Whether a mask's name says that it shows a part of the body, and nothing of a lesion."""
    return bool(_ANATOMY.search(name.lower())) and not _LESION.search(name.lower())


def claim_masks(report: ReadReport) -> None:
    """
    Give the masks below the report's folder that its layout does not know to their scans, and say so once.

    Entries get the role "lesion", and the mask as label where they have none and lie on its grid. Masks of which no
    scan could be told are kept in ``report.unpaired``.

    Args:
        report: what a layout's reader found; changed in place.
    """
    masks = _lesion_masks(report)
    ids = [(entry, _ids(_file(entry), report.folder)) for entry in report.entries]
    claimed: list[Path] = []
    for mask in masks:
        owners = _owners(mask, ids, report.folder)
        for entry in owners:
            _give(entry, mask, report)
        (claimed if owners else report.unpaired).append(mask)
    _tell_relatives(ids)
    if claimed:
        report.warnings.append(
            f"{len(claimed)} of the files are masks by their voxels, such as {claimed[0]}; their scans count as scans "
            "with a lesion."
        )
    if report.unpaired:
        report.warnings.append(
            f"{len(report.unpaired)} masks belong to no scan that could be told, such as {report.unpaired[0]}; name "
            "them as their scans."
        )


def _lesion_masks(report: ReadReport) -> list[Path]:
    """Files that no entry uses and that are masks with something in them, no larger than a lesion may be."""
    used = {os.path.realpath(p) for entry in report.entries for p in (*entry.images, entry.label) if p is not None}
    # what is in the scans' own names says nothing of their masks
    own = {word for entry in report.entries for word in _words(_file(entry))}
    found = []
    for path in walk_files(report.folder):
        if not path.name.lower().endswith(VOLUME_SUFFIXES) or os.path.realpath(path) in used:
            continue
        if names_anatomy("_".join(word for word in _words(path) if word not in own)):
            continue
        if not may_be_mask(path):
            continue
        content = look_into(path)
        if content.kind == "mask" and 0 < content.ml <= MOST_LESION_ML:
            found.append(path)
    return found


def _words(path: Path) -> list[str]:
    """Of the file's name and of its folder's."""
    return re.findall(r"[^\W\d_]+", f"{path.parent.name} {os.path.basename(scan_stem(str(path)))}".lower())


def _file(entry: ScanEntry) -> Path:
    first = str(entry.images[0])
    return Path(first.rpartition("::")[0]) / "x" if is_series_path(first) else entry.images[0]


def _ids(path: Path, root: Path) -> _Ids:
    """Numbers and words of a path below the root that may tell whose it is, in order."""
    stem = scan_stem(os.path.relpath(path, root)).lower()
    text = _GENERIC.sub(" ", re.sub(r"[_/\\.\s-]+", " ", _CHANNEL.sub("", stem)))
    return tuple(part.lstrip("0") or "0" for part in re.findall(r"[^\W\d_]+|\d+", text))


def _shared(mask: _Ids, scan: _Ids) -> int:
    """How much two names have in common; 0 if their numbers contradict each other."""
    (numbers, words), (others, names) = (
        ({p for p in ids if p.isdigit()}, {p for p in ids if not p.isdigit()}) for ids in (mask, scan)
    )
    if numbers and others and not (numbers <= others or others <= numbers):
        return 0
    if not (numbers and others) and (numbers or others) and not words & names:
        return 0
    return 2 * len(numbers & others) + len(words & names)


def _contains(mask: Path, scan: Path) -> bool:
    """Whether the mask's name is the scan's with something before or behind it, as in ``p1_wmh_rater2``."""
    name, short = (os.path.basename(scan_stem(str(path))).lower() for path in (mask, scan))
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(short)}(?![a-z0-9])", name)) and any(map(str.isdigit, short))


def _owners(mask: Path, entries: Sequence[tuple[ScanEntry, _Ids]], root: Path) -> list[ScanEntry]:
    own = _ids(mask, root)
    scores = [_shared(own, ids) + _NAMED * _contains(mask, _file(entry)) for entry, ids in entries]
    best = max(scores, default=0)
    if best:
        alike = [(entry, ids) for (entry, ids), score in zip(entries, scores) if score == best]
        # longer names that contain it are of others if one has the very name
        exact = [(entry, ids) for entry, ids in alike if ids == own] or alike
        if len({entry.subject for entry, _ in exact}) == 1 or len({ids for _, ids in exact}) == 1:
            return [entry for entry, _ in exact]
    for folder in (mask.parent, mask.parent.parent):
        beside = [entry for entry, _ in entries if folder in _file(entry).parents]
        if beside and len({entry.subject for entry in beside}) == 1 and folder != root.parent:
            return beside
    on_grid = [entry for entry, _ in entries if entry.label is None and _on_grid(entry, mask)]
    return on_grid if len(on_grid) == 1 else []


def _on_grid(entry: ScanEntry, mask: Path) -> bool:
    first = entry.images[0]
    return first.name.lower().endswith(VOLUME_SUFFIXES) and not is_series_path(first) and same_grid(first, mask)


def _give(entry: ScanEntry, mask: Path, report: ReadReport) -> None:
    if entry.label is None and _on_grid(entry, mask):
        entry.label = mask
        report.left_out[:] = [(path, reason) for path, reason in report.left_out if path != mask]
    entry.role = "lesion"


def _tell_relatives(entries: Sequence[tuple[ScanEntry, _Ids]]) -> None:
    """Other sequences of a scan with a lesion, by their names, are no normal scans either."""
    sick = {ids for entry, ids in entries if entry.role == "lesion" and ids}
    for entry, ids in entries:
        if ids in sick:
            entry.role = "lesion"
