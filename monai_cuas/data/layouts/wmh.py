# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""WMH challenge 2017: ``{site}/<n>/pre/FLAIR.nii.gz`` with ``{site}/<n>/wmh.nii.gz``, white matter hyperintensities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import ReadReport, ScanEntry, find_scan, folder_of, sequence_names, subfolders, take_sequences

__all__ = ["detect_wmh", "read_wmh"]

_FILES = {"flair": "FLAIR", "t1": "T1"}
_OTHER_PATHOLOGY = 2
_PARTS = ("training", "test")  # folders of the release of 2022; no site
_DEPTH = 5  # part / hospital / scanner / subject


def _subjects(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """Folders that hold ``pre/``, in natural order."""
    if (folder / "pre").is_dir():
        yield folder
    elif depth:
        for sub in subfolders(folder):
            yield from _subjects(sub, depth - 1)


def detect_wmh(folder: Path) -> bool:
    """Tell whether a folder at or below ``folder`` holds ``wmh.nii.gz`` beside ``pre/``."""
    return any(find_scan(sub, "wmh") for sub in _subjects(folder))


def read_wmh(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read the WMH folder; every subject has lesions, the mask's value 2 is other pathology and counts in no figure.

    Args:
        folder: the folder above the sites.
        sequences: of flair, t1 (the one that is aligned with the FLAIR); default flair.

    Raises:
        CUASError: nothing fits.
    """
    report = ReadReport("wmh2017", folder_of(folder))
    names = sequence_names(sequences, _FILES, "flair", "wmh2017")
    for sub in _subjects(report.folder):
        found = {key: path for key, stem in _FILES.items() if (path := find_scan(sub / "pre", stem))}
        images = take_sequences(report, sub, found, names)
        if images is None:
            continue
        label = find_scan(sub, "wmh")
        if label is None:
            report.warnings.append(f"{sub} has no wmh mask.")
        between = sub.relative_to(report.folder).parts[:-1] or (report.folder.name,)
        site = "/".join(part for part in between if part.lower() not in _PARTS)
        # The sites number their subjects apart; the numbers of some are folders' names in others.
        subject = "_".join(filter(None, [site.replace("/", "_"), sub.name]))
        extra = {"kind": "wmh", "ignore_label": _OTHER_PATHOLOGY}
        report.add(ScanEntry(images, subject, "lesion", label, site=site or None, extra=extra))
    return report.required("Utrecht/0/pre/FLAIR.nii.gz with Utrecht/0/wmh.nii.gz")
