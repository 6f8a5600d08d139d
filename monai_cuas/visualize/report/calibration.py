# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a calibration found on normal scans, as one page that opens from disk without a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .charts import asked_and_found_chart, scores_chart
from .layout import table, text, write_page

__all__ = ["write_calibration_report"]

_WORDS = (
    "A voxel is marked where the map lies above a threshold that so many healthy voxels exceed. The rate holds for all "
    "scans together: a single one may lie well above or below it, as the chart shows. It holds for scans like these; "
    "for another scanner, set the thresholds on its own normal scans. Not for clinical use."
)
_GUARANTEE = (
    "Guaranteed: at these thresholds a further subject like these has at most this share of the brain marked, in "
    "expectation (--guarantee true). More normal scans guarantee smaller shares."
)


def write_calibration_report(path: str | os.PathLike, report: Mapping[str, Any]) -> Path:
    """
    Write the page of a calibration.

    Args:
        path: HTML file to write.
        report: what ``monai_cuas.calibration.fit.calibrate`` gives.

    Returns:
        The page's path.
    """
    found = report["realised_rate_on_calibration_scans"]
    said = f"{report['n_scans']} normal scans of {report['n_subjects']} subjects, {report['n_voxels']} voxels; "
    said += f"{len(report['failed'])} scans left out."
    body = [
        f'<p id="said">{text(said)}</p>',
        f"<p>{text(_WORDS)}</p>",
        _thresholds(report, found),
        f"<p>{text(report['realised_rate_note'])}</p>",
        '<div class="charts">',
        asked_and_found_chart({float(rate): list(row["by_scan"].values()) for rate, row in found.items()}),
        scores_chart(report["scan_scores"]["by_scan"]),
        "</div>",
        *_without(report),
        *_guaranteed(report["guaranteed"]),
        *_left_out(report),
    ]
    return write_page(path, "Thresholds from normal scans", body)


def _thresholds(report: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    rows = []
    for rate, threshold in report["thresholds"].items():
        row = found.get(rate)
        shares = ["", ""] if row is None else [f"{row['mean']:.2%}", f"{row['max']:.2%}"]
        rows.append([f"{float(rate):.2%}", f"1 in {1 / float(rate):.4g}", f"{threshold:.4g}", *shares])
    heads = ["healthy voxels above", "which is", "threshold on the raw map", "found here, mean of scans", "worst scan"]
    return table(heads, rows, "thresholds")


def _without(report: Mapping[str, Any]) -> list[str]:
    rates = report["unsupported_rates"]
    if not rates:
        return []
    said = f"Too few healthy voxels for the rates {', '.join(f'{rate:.2%}' for rate in rates)}: they have no threshold."
    return [f"<p>{text(said)}</p>"]


def _guaranteed(guaranteed: Mapping[str, Any]) -> list[str]:
    rows = [[f"{float(rate):.2%}", f"{threshold:.4g}"] for rate, threshold in guaranteed["thresholds"].items()]
    needed = [[f"{float(r):.2%}", f"needs {n} normal subjects"] for r, n in guaranteed["normal_scans_needed"].items()]
    heads = ["share of the brain", "threshold on the raw map"]
    return ["<h2>Guarantee</h2>", f"<p>{text(_GUARANTEE)}</p>", table(heads, [*rows, *needed], "guaranteed")]


def _left_out(report: Mapping[str, Any]) -> list[str]:
    """Sentences without the folders that they name, which may hold a patient's name."""
    lines = []
    for file, sentence in report["failed"]:
        parent = os.path.dirname(str(file).rstrip("/\\"))
        said = str(sentence).replace(f"{parent}/", "") if len(parent) > 1 else str(sentence)
        lines.append(f"<li>{text(said)}</li>")
    return ["<h2>Left out</h2><ul>" + "\n".join(lines) + "</ul>"] if lines else []
