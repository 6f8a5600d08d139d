# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A comparison of methods as one page that opens from disk without a network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..comparison import RECALL_GRID
from .charts import patients_chart, precision_recall_chart
from .layout import picture, table, text, write_page

__all__ = ["ReportTable", "write_comparison_report"]

_WORDS = (
    "Methods in descending order of the AUPRC; mean and sample standard deviation over seeds. Oracle columns take "
    "their threshold from the test scans: nobody can have them on a new scan. Not for clinical use."
)


class ReportTable(NamedTuple):
    """
    A table of the page.

    Attributes:
        title: above it.
        said: a sentence on it, or nothing.
        heads: of the columns.
        rows: cells, plain text.
    """

    title: str
    said: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_comparison_report(
    folder: str | os.PathLike,
    tables: Sequence[ReportTable],
    curves: Mapping[str, Sequence[np.ndarray]],
    dice: Mapping[str, Sequence[float]],
    lists: Mapping[str, Sequence[str]],
) -> Path:
    """
    Write ``report.html`` of a comparison.

    Args:
        folder: of the comparison, with its ``panel.png`` if it has one.
        tables: of the page, the first one of all methods.
        curves: by method, precision on ``RECALL_GRID`` of each run; the mean is drawn.
        dice: by method, of each patient, the mean over seeds.
        lists: what is told beside, by title; empty ones are left out.

    Returns:
        The page's path.
    """
    charts = []
    if curves:
        mean = {name: np.mean(np.stack(list(runs)), axis=0).tolist() for name, runs in curves.items()}
        charts.append(precision_recall_chart(RECALL_GRID.tolist(), mean))
    if any(len(values) for values in dice.values()):
        charts.append(patients_chart(dice))
    body = [f"<p>{text(_WORDS)}</p>"]
    for k, one in enumerate(tables):
        cells = [[text(cell) for cell in row] for row in one.rows]
        body += [f"<h2>{text(one.title)}</h2>", f"<p>{text(one.said)}</p>", table(one.heads, cells, f"table{k}")]
        if k == 0:
            body += ['<div class="charts">', *charts, "</div>"]
    for title, entries in lists.items():
        if entries:
            body.append(f"<h2>{text(title)}</h2><ul>" + "".join(f"<li>{text(e)}</li>" for e in entries) + "</ul>")
    body += ["<h2>Maps of the same slices</h2>", picture(Path(folder) / "panel.png", "maps", "There is no panel.")]
    return write_page(Path(folder) / "report.html", "Comparison", body)
