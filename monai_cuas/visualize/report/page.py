# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A folder of results as one page that opens from disk without a network."""

from __future__ import annotations

import base64
import csv
import math
import os
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from ...utils import printable, replacing

__all__ = ["write_scan_report"]

# column of results.csv, and what stands above it
_COLUMNS = {
    "scan_p_value": "p-value",
    "scan_score": "score",
    "lesion_volume_ml": "volume (ml)",
    "components": "components",
    "threshold_rate": "healthy rate",
    "model": "model",
    "notes": "notes",
}


def write_scan_report(output_dir: str | os.PathLike) -> Path:
    """
    Write ``report.html`` of a folder of results: its scans, the most unusual first, and those that failed.

    It holds the pictures itself and asks for nothing else. Of a scan it names what ``results.csv`` names, without
    folders.

    Args:
        output_dir: with ``results.csv``, ``<name>_overlay.png`` and, where scans failed, ``failures.csv``.

    Returns:
        The page's path.
    """
    folder = Path(output_dir)
    rows = sorted(_read(folder / "results.csv"), key=_unusual)
    failed = [row for row in _read(folder / "failures.csv") if row.get("problem")]
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    found = sum(row.get("components") not in ("", "0", None) for row in rows)
    said = f"{len(rows)} scans, {found} with something found, {len(failed)} failed."
    filled = {
        "said": said,
        "heads": "".join(f"<th>{escape(head)}</th>" for head in _COLUMNS.values()),
        "rows": "\n".join(_line(k, row) for k, row in enumerate(rows)),
        "failures": _failures(failed),
    }
    before, _, after = template.partition("$scans")
    path = folder / "report.html"
    # scan by scan, as the pictures of thousands are more than memory should hold
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(Template(before).substitute(filled))
        for k, row in enumerate(rows):
            file.write(("\n" if k else "") + _scan(k, row, folder))
        file.write(Template(after).substitute(filled))
    return path


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str | None, otherwise: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return otherwise
    return otherwise if math.isnan(value) else value


def _unusual(row: Mapping[str, str]) -> tuple[float, float, str]:
    """Smallest p-value first; among equal ones, as of models without a scale, the highest score."""
    return (_number(row.get("scan_p_value"), 2.0), -_number(row.get("scan_score"), -math.inf), row.get("name", ""))


def _text(value: str | None) -> str:
    return escape(printable(value or ""))


def _line(k: int, row: Mapping[str, str]) -> str:
    cells = "".join(f"<td>{_text(row.get(column))}</td>" for column in _COLUMNS)
    return f'<tr><td><a href="#scan{k}">{_text(row.get("name"))}</a></td>{cells}</tr>'


def _scan(k: int, row: Mapping[str, str], folder: Path) -> str:
    name = row.get("name", "")
    picture = folder / f"{name}_overlay.png"
    shown = "<p>There is no picture of this scan.</p>"
    if picture.is_file():
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        shown = f'<img alt="{_text(name)}" src="data:image/png;base64,{data}">'
    notes = f"<p>{_text(row.get('notes'))}</p>" if row.get("notes") else ""
    return f'<section id="scan{k}"><h2>{_text(name)}</h2>{notes}{shown}</section>'


def _failures(failed: list[dict[str, str]]) -> str:
    if not failed:
        return ""
    lines = []
    for row in failed:
        # folders may hold a patient's name
        parent, short = os.path.split(row.get("name", "").rstrip("/\\"))
        problem = row["problem"].replace(f"{parent}/", "") if len(parent) > 1 else row["problem"]
        lines.append(f"<li><b>{_text(short)}</b>: {_text(problem)}</li>")
    return "<h2>Failed</h2>\n<ul>" + "\n".join(lines) + "</ul>"
