# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""BraTS: a folder per case, ``<case>/<case>_flair.nii.gz`` up to 2021 and ``<case>/<case>-t2f.nii.gz`` from 2023 on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import ReadReport, ScanEntry, find_scan, folder_of, sequence_names, subfolders, take_sequences

__all__ = ["detect_brats", "read_brats"]

_OLD = {"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2"}
_NEW = {"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w"}
_ALIASES = {"t2f": "flair", "t1n": "t1", "t1c": "t1ce", "t1gd": "t1ce", "t2w": "t2"}
_KINDS = {"MEN": "meningioma", "MET": "metastasis"}
_DEPTH = 4  # year / grade / case and one more, as archives are unpacked


@dataclass(frozen=True)
class _Year:
    """How a year names its cases and files.

    Args:
        case: matches a case folder; its groups name the patient, the scan of the patient and the centre.
        files: what follows the case in a file name, by sequence.
        seg: the same for the mask.
        example: for the messages.
    """

    case: re.Pattern[str]
    files: dict[str, str]
    seg: str
    example: str


def _year(case: str, files: dict[str, str], seg: str, example: str) -> _Year:
    return _Year(re.compile(case, re.IGNORECASE), files, seg, example)


_YEARS = {
    # The last number counts the scans of a patient.
    "brats2019": _year(
        r"^(?P<patient>BraTS1[789]_(?P<site>[A-Z]+|2013|[A-Z]+\d+)_\w+)_(?P<session>\d+)$",
        _OLD,
        "_seg",
        "{HGG,LGG}/BraTS19_CBICA_AAB_1/BraTS19_CBICA_AAB_1_flair.nii.gz",
    ),
    "brats2020": _year(
        r"^(?P<patient>BraTS20_[A-Z]+_\d+)$",
        _OLD,
        "_seg",
        "BraTS20_Training_001/BraTS20_Training_001_flair.nii.gz",
    ),
    "brats2021": _year(r"^(?P<patient>BraTS2021_\d+)$", _OLD, "_seg", "BraTS2021_00000/BraTS2021_00000_flair.nii.gz"),
    "brats2023": _year(
        r"^(?P<patient>BraTS-(?P<tumour>[A-Z]+)-\d+)-(?P<session>\d+)$",
        _NEW,
        "-seg",
        "BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz",
    ),
}


def _cases(folder: Path, year: _Year, depth: int = _DEPTH) -> Iterator[tuple[Path, re.Match[str]]]:
    """Case folders, the folder itself included, in natural order; nothing is looked for inside a case."""
    match = year.case.match(folder.name)
    if match:
        yield folder, match
    elif depth:
        for sub in subfolders(folder):
            yield from _cases(sub, year, depth - 1)


def detect_brats(folder: Path, layout: str) -> bool:
    """Tell whether a folder at or below ``folder`` is named as the cases of that year are."""
    return next(_cases(folder, _YEARS[layout]), None) is not None


def _kind(case: Path, match: re.Match[str]) -> str:
    """The grade where the folders tell it, else the tumour that the year is about."""
    if "tumour" in match.groupdict():
        return _KINDS.get(match["tumour"].upper(), "glioma")
    return {"HGG": "high-grade glioma", "LGG": "low-grade glioma"}.get(case.parent.name, "glioma")


def _mask(case: Path, year: _Year) -> Path | None:
    """The mask; one case of 2020 has it under another name (``W39_1998.09.19_Segm.nii``)."""
    found = find_scan(case, case.name + year.seg)
    others = [p for p in sorted(case.glob("*_[Ss]egm.nii*")) if not p.name.startswith(".")]
    return found or (others[0] if len(others) == 1 else None)


def read_brats(folder: str | Path, sequences: Sequence[str] | None = None, layout: str = "brats2021") -> ReadReport:
    """Read a BraTS folder; every case has a tumour, all of whose parts are lesion.

    Args:
        folder: the training data of a year, at any level above the case folders.
        sequences: of flair, t1, t1ce, t2 (or the new names t2f, t1n, t1c, t2w); default flair.
        layout: ``brats2019`` (2017 to 2019), ``brats2020``, ``brats2021`` or ``brats2023`` (and later).

    Raises:
        CUASError: nothing fits.
    """
    year = _YEARS[layout]
    report = ReadReport(layout, folder_of(folder))
    known = [_ALIASES.get(name.lower(), name.lower()) for name in sequences or ["flair"]]
    names = sequence_names(known, year.files, "flair", layout)
    seen: dict[str, Path] = {}
    unlabelled = 0
    for case, match in _cases(report.folder, year):
        if seen.setdefault(case.name, case) != case:
            report.leave_out(case, f"a second folder of the same case, {seen[case.name]} is used")
            continue
        found = {key: path for key, end in year.files.items() if (path := find_scan(case, case.name + end))}
        images = take_sequences(report, case, found, names)
        if images is None:
            continue
        mask = _mask(case, year)
        unlabelled += mask is None
        groups = match.groupdict()
        extra = {"kind": _kind(case, match)}
        entry = ScanEntry(images, match["patient"], "lesion", mask, groups.get("session"), groups.get("site"))
        entry.extra = extra
        report.add(entry)
    if unlabelled:
        report.warnings.append(f"{unlabelled} cases have no mask; they count for the detection of scans only.")
    return report.required(year.example)
