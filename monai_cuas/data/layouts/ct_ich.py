# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""PhysioNet CT-ICH: head CT with a table of haemorrhages by slice.

As released: ``ct_scans/NNN.nii``, ``masks/NNN.nii`` and ``hemorrhage_diagnosis_raw_ct.csv``, slices counted from 1.
Rebuilt copies: ``NNN.nii.gz`` and ``slices.csv`` in one folder, slices counted from 0, no masks.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_cuas.io.orientation import axial_axis
from monai_cuas.utils import CUASError

from .base import NIFTI_SUFFIXES, ReadReport, ScanEntry, find_scan, folder_of, natural_key, stem_of

__all__ = ["detect_ct_ich", "read_ct_ich"]

_TABLES = ("hemorrhage_diagnosis_raw_ct.csv", "slices.csv")
_PATIENT, _SLICE, _HEALTHY = ("patientnumber", "patient"), ("slicenumber", "slice"), ("nohemorrhage",)
_FRACTURE = ("fractureyesno", "fracture")
_TYPES = ("intraventricular", "intraparenchymal", "subarachnoid", "epidural", "subdural")
_Row = dict[str, str]


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _TABLES if (folder / name).is_file()), None)


def detect_ct_ich(folder: Path) -> bool:
    """Tell whether the folder holds one of the tables, with a column for haemorrhage-free slices."""
    table = _table(folder)
    if table is None:
        return False
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return "nohemorrhage" in _plain(file.readline())


def _plain(text: str) -> str:
    """Column names without case, blanks and underscores, in which the two tables differ."""
    return text.lower().replace("_", "").replace(" ", "")


def _rows(table: Path) -> dict[int, list[_Row]]:
    """Rows of each patient, with plain column names.

    Raises:
        CUASError: a column is missing or a number is none.
    """
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [{_plain(k): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(file)]
    patients: dict[int, list[_Row]] = {}
    for number, row in enumerate(rows, 2):
        try:
            patients.setdefault(int(_get(row, _PATIENT)), []).append(row)
            row["slice"] = str(int(_get(row, _SLICE)))
            _get(row, _HEALTHY)
        except (KeyError, ValueError) as error:
            raise CUASError(
                f"{table}: line {number} is not as expected ({error}); give the table as it was released."
            ) from error
    return patients


def _get(row: _Row, names: Sequence[str]) -> str:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"no column {names[0]}")


def _slice_labels(rows: Sequence[_Row], n_slices: int) -> list[int] | str:
    """0 or 1 for each slice of the file in order, or why the rows do not fit. Only the numbers count, not the order."""
    ordered = sorted(rows, key=lambda row: int(row["slice"]))
    numbers = [int(row["slice"]) for row in ordered]
    if len(numbers) != n_slices:
        return f"{len(numbers)} rows in the table for {n_slices} slices"
    if numbers not in (list(range(n_slices)), list(range(1, n_slices + 1))):
        return f"its rows in the table do not number the slices 0 to {n_slices - 1} or 1 to {n_slices}"
    return [int(_sick(row)) for row in ordered]


def _sick(row: _Row) -> bool:
    return _get(row, _HEALTHY) != "1" or any(row.get(kind) == "1" for kind in _TYPES)


def _kind(rows: Sequence[_Row]) -> str:
    kinds = [kind for kind in _TYPES if any(row.get(kind) == "1" for row in rows)]
    return kinds[0] if len(kinds) == 1 else "several haemorrhages" if kinds else "haemorrhage"


def _axial(path: Path) -> tuple[int, int]:
    """Axial axis of a file and its number of slices."""
    image: Any = nib.load(path)
    axis = axial_axis(image.affine)
    return axis, int(image.shape[axis])


def _disagreement(mask: Path, axis: int, labels: Sequence[int]) -> int:
    """Number of slices of which the mask tells something else than the table."""
    image: Any = nib.load(mask)
    drawn = np.moveaxis(np.asarray(image.dataobj) > 0, axis, 0).any(axis=(1, 2))
    return int((drawn != np.asarray(labels, dtype=bool)).sum())


def read_ct_ich(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read CT-ICH; a patient without haemorrhage in any slice is normal, all others are tested on.

    Args:
        folder: holds the table and the scans (or ``ct_scans/`` and ``masks/``).
        sequences: not known here; must be left out.

    Raises:
        CUASError: nothing fits, or sequences asked for.
    """
    if sequences:
        raise CUASError("The layout 'ct_ich' has one image for each patient; leave --sequences out.")
    report = ReadReport("ct_ich", folder_of(folder))
    table = _table(report.folder)
    if table is None:
        raise CUASError(f"{report.folder}: no {_TABLES[0]} or {_TABLES[1]}; name the folder that holds the table.")
    patients = _rows(table)
    scans = report.folder / "ct_scans" if (report.folder / "ct_scans").is_dir() else report.folder
    files = [p for p in scans.iterdir() if p.name.endswith(NIFTI_SUFFIXES) and not p.name.startswith(".")]
    for path in sorted(files, key=lambda p: natural_key(p.name)):
        name = stem_of(path)
        rows = patients.pop(int(name), []) if name.isdigit() else []
        if rows:
            _add(report, path, rows)
        else:
            report.leave_out(path, f"no rows in {table.name}")
    if patients:
        names = ", ".join(f"{patient:03d}" for patient in sorted(patients))
        report.warnings.append(f"{table.name} has rows of patients without a scan: {names}.")
    return report.required("NNN.nii.gz, or ct_scans/NNN.nii and masks/NNN.nii")


def _add(report: ReadReport, path: Path, rows: Sequence[_Row]) -> None:
    name = stem_of(path)
    try:
        axis, n_slices = _axial(path)
    except Exception:  # nibabel raises many kinds for a bad file, all mean the same here
        report.leave_out(path, "not a readable NIfTI file")
        return
    labels = _slice_labels(rows, n_slices)
    if isinstance(labels, str):
        report.leave_out(path, labels)
        return
    if not any(labels):
        if any(row.get(column) == "1" for row in rows for column in _FRACTURE):
            report.warnings.append(f"{name} has a fracture but no haemorrhage, and counts as normal.")
        report.add(ScanEntry((path,), name, "normal", extra={"slice_labels": labels}))
        return
    entry = ScanEntry((path,), name, "lesion", find_scan(report.folder / "masks", name))
    entry.extra = {"kind": _kind(rows), "slice_labels": labels}
    report.add(entry)
    if entry.label is not None and (wrong := _disagreement(entry.label, axis, labels)):
        report.warnings.append(f"{name}: mask and table disagree on {wrong} of {n_slices} slices.")
