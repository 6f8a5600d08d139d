# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""An evaluation as one page that opens from disk without a network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...metrics import SIZE_BINS
from ...utils import CUASError
from ..overlay import draw_overlay
from .charts import (
    dice_chart,
    froc_chart,
    healthy_rate_chart,
    patients_chart,
    precision_recall_chart,
    sizes_chart,
)
from .layout import picture, table, text, write_page
from .viewer import ShownScan, has_viewer, viewer_block
from .volumes import write_volumes

__all__ = ["EVALUATED_SCANS", "keep_evaluated", "remove_evaluated", "write_evaluation_report"]

EVALUATED_SCANS = "report_scans"
"""Folder of what the page shows of each scan, by its number in the list."""

_ALL = "all lesions"
_KEYS = "Those of the first method, the most unusual first. Keys n and p, or right and left: next and previous scan."
_FIGURES = {
    "auprc": "AUPRC",
    "dice_pooled": "Dice",
    "oracle_dice": "oracle Dice",
    "scan_auroc": "scan AUROC",
    "slice_auroc": "slice AUROC",
    "lesion_recall": "lesions found",
    "fp_per_scan": "false positives in a scan",
    "fpr_normal_pooled": "healthy rate",
}
_WORDS = (
    "The threshold comes from normal scans. Oracle figures take theirs from these test scans: nobody can have them on "
    "a new scan. In brackets: 95% bootstrap interval over patients. p: paired Wilcoxon test over patients, against the "
    "first method."
)


def _place(folder: str | os.PathLike, k: int, suffix: str) -> Path:
    return Path(folder) / EVALUATED_SCANS / f"{k}{suffix}"


def remove_evaluated(folder: str | os.PathLike) -> None:
    """Remove what an earlier evaluation kept of its scans in a folder."""
    for pattern in ("*.png", "*.json"):
        for path in (Path(folder) / EVALUATED_SCANS).glob(pattern):
            path.unlink()


def keep_evaluated(
    folder: str | os.PathLike,
    k: int,
    scan: np.ndarray,
    anomaly: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    threshold: float,
    truth: np.ndarray | None = None,
) -> None:
    """
    Keep what the page shows of a scan: its picture and, where a viewer is installed, its volumes.

    Args:
        folder: of the evaluation.
        k: the scan's number; no name goes into a file's.
        scan: intensities, (X, Y, Z), as are the other volumes.
        anomaly: calibrated map, -log10 of the healthy rate.
        brain: brain mask.
        affine: voxel to RAS millimetres.
        threshold: score that the mask is made at.
        truth: the true mask, where there is one.
    """
    mask = anomaly >= threshold
    _place(folder, k, ".png").parent.mkdir(parents=True, exist_ok=True)
    title = f"found: magenta, true: green (threshold: {10**-threshold:.2%} of healthy brain voxels)"
    draw_overlay(_place(folder, k, ".png"), scan, anomaly, mask, brain, affine, threshold, title, truth=truth)
    if has_viewer():
        write_volumes(_place(folder, k, ".json"), scan, anomaly, mask, brain, affine, threshold, truth=truth)


def write_evaluation_report(
    output_dir: str | os.PathLike, report: Mapping[str, Any], curves: Mapping[str, Mapping[str, Any]], title: str = ""
) -> Path:
    """
    Write the page of an evaluation: figures, curves, and each scan, the most unusual first.

    Args:
        output_dir: folder with what :func:`keep_evaluated` kept; where inference wrote its own ``report.html`` there,
            this one is ``evaluation.html``.
        report: as in ``evaluation.json``.
        curves: by method, "recall" and "precision", "rate" and "dice", and of "froc" "rate", "recall", "fp_per_scan".
        title: of the page.

    Returns:
        The page's path.
    """
    folder = Path(output_dir)
    first = next(iter(report["methods"].values()))
    order = sorted(range(len(first["scans"])), key=lambda k: _unusual(first["scans"][k]))
    viewer, scripts = _viewer(folder, first["scans"], order)
    head = [
        f'<p id="said">{text(_said(first["scans"], report))}</p>',
        f"<p>{text(_WORDS)} Not for clinical use.</p>",
        _headline(report),
        '<div class="charts">' + "\n".join(_charts(report, curves)) + "</div>",
        *_failures(report),
        "<h2>Scans</h2>",
        f"<p>{text(_KEYS)}</p>",
        *viewer,
        table(["scan", "lesion", "p-value", "score", "Dice", "healthy rate"], _lines(first["scans"], order), "scans"),
    ]
    body = chain(head, (_section(folder, first["scans"], place, k) for place, k in enumerate(order)))
    name = "evaluation.html" if (folder / "results.csv").is_file() else "report.html"
    return write_page(folder / name, title or "Evaluation", body, scripts)


def _said(scans: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    lesion = sum(scan["diseased"] for scan in scans)
    said = f"{len(scans)} scans: {lesion} with lesions, {len(scans) - lesion} normal; {len(report['failed'])} left out."
    return f"{said} Threshold: {report['rate']:.2%} of healthy brain voxels, {report['threshold']}."


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _cell(value: Any, ends: Sequence[Any] = ()) -> str:
    if not _known(value):
        return "-"
    said = f"{value:.3f}"
    if len(ends) == 2 and all(map(_known, ends)):
        said += f" <small>({ends[0]:.3f} to {ends[1]:.3f})</small>"
    return said


def _headline(report: Mapping[str, Any]) -> str:
    groups = {name: method["groups"].get(_ALL, {}) for name, method in report["methods"].items()}
    known = [key for key in _FIGURES if any(_known(group.get(key)) for group in groups.values())]
    rows = []
    for name, method in report["methods"].items():
        test = report["against_first"].get(name, {}).get("dice", {})
        p = f"{test['p']:.2g}" if _known(test.get("p")) else ""
        cells = [_cell(groups[name].get(key), method["intervals"].get(key, ())) for key in known]
        rows.append([text(name), *cells, p])
    return table(["method", *(_FIGURES[key] for key in known), "p (Dice)"], rows, "figures")


def _charts(report: Mapping[str, Any], curves: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that the scans allow."""
    methods, rate, charts = report["methods"], report["rate"], []
    drawn = {name: curve for name, curve in curves.items() if curve.get("precision")}
    if drawn:
        recall = next(iter(drawn.values()))["recall"]
        charts.append(precision_recall_chart(recall, {name: curve["precision"] for name, curve in drawn.items()}))
        charts.append(dice_chart({name: curve["dice"] for name, curve in drawn.items()}, rate))
    free = {name: curve["froc"] for name, curve in curves.items() if curve.get("froc", {}).get("rate")}
    if free:
        charts.append(froc_chart(free, rate))
        groups = {name: method["groups"].get(_ALL, {}) for name, method in methods.items()}
        counts = [int(next(iter(groups.values())).get(f"n_lesions {size}") or 0) for size in SIZE_BINS]
        recalls = {n: [_or_none(g.get(f"lesion_recall {size}")) for size in SIZE_BINS] for n, g in groups.items()}
        charts.append(sizes_chart(recalls, SIZE_BINS, counts))
    if any(method["patients"] for method in methods.values()):
        charts.append(patients_chart({n: [row["dice"] for row in m["patients"]] for n, m in methods.items()}))
    normal = {n: [s["fpr"] for s in m["scans"] if not s["diseased"] and _known(s["fpr"])] for n, m in methods.items()}
    if any(normal.values()):
        charts.append(healthy_rate_chart(normal, rate))
    return charts


def _or_none(value: Any) -> float | None:
    return float(value) if _known(value) else None


def _unusual(scan: Mapping[str, Any]) -> tuple[float, float]:
    p, score = scan["scan_p_value"], scan["scan_score"]
    return (p if _known(p) else 2.0, -score if _known(score) else math.inf)


def _lines(scans: Sequence[Mapping[str, Any]], order: Sequence[int]) -> list[list[str]]:
    return [
        [
            f'<a href="#scan{place}">{text(scans[k]["name"])}</a>',
            "yes" if scans[k]["diseased"] else "no",
            *(_cell(scans[k][key]) for key in ("scan_p_value", "scan_score", "dice", "fpr")),
        ]
        for place, k in enumerate(order)
    ]


def _section(folder: Path, scans: Sequence[Mapping[str, Any]], place: int, k: int) -> str:
    name = scans[k]["name"]
    shown = picture(_place(folder, k, ".png"), str(name), "There is no picture of this scan.")
    return f'<section class="scan" id="scan{place}"><h2>{text(name)}</h2>{shown}</section>'


def _viewer(folder: Path, scans: Sequence[Mapping[str, Any]], order: Sequence[int]) -> tuple[list[str], list[str]]:
    keys = files(__package__).joinpath("keys.js").read_text(encoding="utf-8")
    shown = [ShownScan(str(scans[k]["name"]), _place(folder, k, ".json")) for k in order]
    try:
        html, script = viewer_block(shown)
    except CUASError as error:
        return [f"<p>{text(f'Pictures only: {error}')}</p>"], [keys]
    return [html], [keys, script]


def _failures(report: Mapping[str, Any]) -> list[str]:
    """Left-out scans, without the folders that the sentences name."""
    if not report["failed"]:
        return []
    lines = []
    for file, sentence in report["failed"]:
        parent = os.path.dirname(str(file).rstrip("/\\"))
        said = str(sentence).replace(f"{parent}/", "") if len(parent) > 1 else str(sentence)
        lines.append(f"<li>{text(said)}</li>")
    return ["<h2>Left out</h2><ul>" + "\n".join(lines) + "</ul>"]
