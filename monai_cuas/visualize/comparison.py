# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Curves and slices of several methods in one picture, and the files they are kept in until then."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from ..utils import replacing
from .overlay import save_figure

__all__ = [
    "RECALL_GRID",
    "draw_precision_recall",
    "load_panel_rows",
    "merge_panel_rows",
    "save_panel_rows",
    "thin_curve",
]

RECALL_GRID = np.linspace(0.0, 1.0, 201)
_SLICES = ("scan", "label", "brain")
_STYLES = ("-", "--", ":")


def thin_curve(tp: np.ndarray, fp: np.ndarray) -> np.ndarray | None:
    """
    Precision on a fixed grid of recall, so that curves of several runs can be averaged.

    Args:
        tp: lesion voxels at or above each threshold, thresholds descending.
        fp: other voxels at or above each threshold.

    Returns:
        Precision at the first threshold that reaches each of :data:`RECALL_GRID`; None without a lesion voxel.
    """
    if not len(tp) or not tp[-1]:
        return None
    first = np.searchsorted(tp / tp[-1], RECALL_GRID - 1e-12)
    return (tp / np.maximum(tp + fp, 1))[np.minimum(first, len(tp) - 1)]


def draw_precision_recall(path: str | os.PathLike, curves: Mapping[str, Sequence[np.ndarray]]) -> None:
    """
    Draw precision over recall, one line a method: the mean over its runs, and their range as a band.

    Args:
        path: PNG to write.
        curves: by label, precision on :data:`RECALL_GRID` of each run.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axis, colours = figure.subplots(), colormaps["tab10"].colors  # type: ignore[attr-defined]
    for k, (label, runs) in enumerate(curves.items()):
        stack, colour = np.stack([np.asarray(run) for run in runs]), colours[k % len(colours)]
        style = _STYLES[k // len(colours) % len(_STYLES)]
        axis.plot(RECALL_GRID, stack.mean(axis=0), label=label, color=colour, linestyle=style, linewidth=1.5)
        if len(stack) > 1:
            axis.fill_between(RECALL_GRID, stack.min(axis=0), stack.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    save_figure(figure, path)


def save_panel_rows(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Keep the rows of a panel, as :func:`monai_cuas.visualize.draw_panel` takes them.

    Args:
        path: npz file to write.
        rows: the rows; their maps go in half precision.
    """
    arrays: dict[str, np.ndarray] = {}
    for k, row in enumerate(rows):
        arrays |= {f"{k}/{name}": np.asarray(row[name]) for name in _SLICES}
        arrays |= {f"{k}/map/{name}": np.asarray(values, dtype=np.float16) for name, values in row["maps"].items()}
        arrays |= {f"{k}/title": np.array(row["title"]), f"{k}/aspect": np.array(row["aspect"])}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def load_panel_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the rows that :func:`save_panel_rows` wrote."""
    rows: list[dict[str, Any]] = []
    with np.load(path, allow_pickle=False) as file:
        for k in sorted({int(key.split("/")[0]) for key in file.files}):
            row: dict[str, Any] = {name: file[f"{k}/{name}"] for name in _SLICES}
            row |= {"title": str(file[f"{k}/title"]), "aspect": float(file[f"{k}/aspect"])}
            prefix = f"{k}/map/"
            row["maps"] = {key[len(prefix) :]: file[key] for key in file.files if key.startswith(prefix)}
            rows.append(row)
    return rows


def merge_panel_rows(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """
    Put the maps of several methods on the same slices side by side.

    Args:
        panels: by name of the method, rows with one map each; all show the same slices of the same scans.

    Returns:
        Rows with one map for each name; rows that not all methods have are left out.
    """
    merged: dict[str, dict[str, Any]] = {}
    for name, rows in panels.items():
        for row in rows:
            whole = merged.setdefault(row["title"], {**row, "maps": {}})
            whole["maps"][name] = next(iter(row["maps"].values()))
    return [row for row in merged.values() if len(row["maps"]) == len(panels)]
