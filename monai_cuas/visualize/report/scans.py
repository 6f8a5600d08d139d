# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A folder of results as one page that opens from disk without a network."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path

from ...utils import CUASError
from .layout import picture, table, text, write_page
from .viewer import ShownScan, viewer_block

__all__ = ["volumes_path", "write_scan_report"]

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

    It holds pictures and volumes itself and asks for nothing else. Of a scan it names what ``results.csv`` names,
    without folders.

    Args:
        output_dir: with ``results.csv``, ``<name>_overlay.png`` and, where scans failed, ``failures.csv``; volumes that
            were kept (:func:`volumes_path`) are in the page if a viewer is installed.

    Returns:
        The page's path.
    """
    folder = Path(output_dir)
    rows = sorted(_read(folder / "results.csv"), key=_unusual)
    failed = [row for row in _read(folder / "failures.csv") if row.get("problem")]
    found = sum(row.get("components") not in ("", "0", None) for row in rows)
    said = f"{len(rows)} scans, {found} with something found, {len(failed)} failed."
    said += " The most unusual scan stands first. Keys n and p, or right and left: next and previous scan."
    viewer, scripts = _viewer(rows, folder)
    head = [
        f'<p id="said">{text(said)}</p>',
        f"<p>{viewer[0]} Not for clinical use.</p>",
        *viewer[1:],
        table(["scan", *_COLUMNS.values()], (_line(k, row) for k, row in enumerate(rows)), "scans"),
        _failures(failed),
    ]
    body = chain(head, (_scan(k, row, folder) for k, row in enumerate(rows)))
    return write_page(folder / "report.html", "Anomaly maps", body, scripts)


def volumes_path(output_dir: str | os.PathLike, name: str) -> Path:
    """Return where the volumes of a scan are kept for the viewer."""
    return Path(output_dir) / "report_volumes" / f"{name}.json"


def _viewer(rows: Sequence[Mapping[str, str]], folder: Path) -> tuple[list[str], list[str]]:
    """What is said of the viewer and the viewer, and the page's scripts."""
    keys = files(__package__).joinpath("keys.js").read_text(encoding="utf-8")
    shown = [ShownScan(row.get("name", ""), volumes_path(folder, row.get("name", ""))) for row in rows]
    try:
        html, script = viewer_block(shown)
    except CUASError as error:
        return [text(f"Pictures only: {error} Maps and masks in full are the files beside this one.")], [keys]
    said = "Marked is what lies above the threshold; the slider sets it by how many healthy voxels lie above it too."
    return [text(said), html], [keys, script]


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


def _line(k: int, row: Mapping[str, str]) -> list[str]:
    return [f'<a href="#scan{k}">{text(row.get("name"))}</a>', *(text(row.get(column)) for column in _COLUMNS)]


def _scan(k: int, row: Mapping[str, str], folder: Path) -> str:
    name = row.get("name", "")
    shown = picture(folder / f"{name}_overlay.png", name, "There is no picture of this scan.")
    notes = f"<p>{text(row.get('notes'))}</p>" if row.get("notes") else ""
    return f'<section class="scan" id="scan{k}"><h2>{text(name)}</h2>{notes}{shown}</section>'


def _failures(failed: list[dict[str, str]]) -> str:
    if not failed:
        return ""
    lines = []
    for row in failed:
        # folders may hold a patient's name
        parent, short = os.path.split(row.get("name", "").rstrip("/\\"))
        problem = row["problem"].replace(f"{parent}/", "") if len(parent) > 1 else row["problem"]
        lines.append(f"<li><b>{text(short)}</b>: {text(problem)}</li>")
    return "<h2>Failed</h2>\n<ul>" + "\n".join(lines) + "</ul>"
