# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Charts of an evaluation as SVG that stands in the page itself."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .layout import text

__all__ = [
    "asked_and_found_chart",
    "dice_chart",
    "froc_chart",
    "healthy_rate_chart",
    "patients_chart",
    "precision_recall_chart",
    "scores_chart",
    "sizes_chart",
]

Curves = Mapping[str, Mapping[str, Any]]
_STYLES = ("-", "--", ":")
_WIDTH = 0.8


def _style(k: int) -> dict[str, Any]:
    """The first method is black and thick: it is what the page is about."""
    if k == 0:
        return {"color": "black", "linewidth": 2.2}
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    return {"color": colours[(k - 1) % 10], "linewidth": 1.3, "linestyle": _STYLES[(k - 1) // 10 % 3]}


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.6, 3.9), layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=x, ylabel=y)
    axis.grid(alpha=0.3)
    return figure, axis


def _svg(figure: Figure, title: str) -> str:
    """As a figure of the page; without dates, so the same numbers give the same page."""
    stream = io.StringIO()
    FigureCanvasSVG(figure)
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return f'<figure class="chart"><figcaption>{text(title)}</figcaption>{drawn}</figure>'


def _legend(figure: Figure, axis: Any) -> None:
    handles, names = axis.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=7, frameon=False)


def precision_recall_chart(recall: Sequence[float], precision: Mapping[str, Sequence[float]]) -> str:
    """
    Args:
        recall: shared by all, ascending.
        precision: by method, of each recall.
    """
    figure, axis = _axes("recall of lesion voxels", "precision")
    for k, (name, values) in enumerate(precision.items()):
        axis.plot(recall, values, label=name, **_style(k))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    _legend(figure, axis)
    return _svg(figure, "Precision and recall, voxels of all lesion scans")


def froc_chart(curves: Curves, rate: float) -> str:
    """
    Args:
        curves: by method, "rate", "recall" and "fp_per_scan".
        rate: of the run's threshold, which is marked.
    """
    figure, axis = _axes("false positives in a scan", "lesions found")
    for k, (name, curve) in enumerate(curves.items()):
        axis.plot(curve["fp_per_scan"], curve["recall"], label=name, marker=".", **_style(k))
        here = [j for j, other in enumerate(curve["rate"]) if math.isclose(other, rate)]
        for j in here:
            axis.plot(curve["fp_per_scan"][j], curve["recall"][j], "o", markersize=9, fillstyle="none", color="red")
    axis.set_xscale("symlog", linthresh=1)
    axis.set(ylim=(0, 1.02), xlim=(0, None))
    _legend(figure, axis)
    return _svg(figure, f"Lesions found against false positives; circles: at the threshold of {rate:.2%}")


def dice_chart(curves: Curves, rate: float) -> str:
    """
    Args:
        curves: by method, "rate" (healthy rate of the threshold) and "dice".
        rate: of the run's threshold.
    """
    figure, axis = _axes("healthy voxels above the threshold, as calibrated", "Dice of all lesion voxels")
    for k, (name, curve) in enumerate(curves.items()):
        axis.plot(curve["rate"], curve["dice"], label=name, **_style(k))
        if len(curve["dice"]):
            best = int(np.argmax(curve["dice"]))
            axis.plot(curve["rate"][best], curve["dice"][best], "*", color=_style(k)["color"], markersize=9)
    axis.axvline(rate, color="red", linestyle="--", linewidth=1)
    axis.set(xscale="log", ylim=(0, 1))
    axis.invert_xaxis()
    _legend(figure, axis)
    return _svg(figure, "Dice by threshold; red: the normals' threshold; stars: oracle, chosen on these test scans")


def _strip(axis: Any, groups: Mapping[str, Sequence[float]]) -> None:
    """Points of each group beside each other, with the mean; scattered by their order, the same each time."""
    for k, given in enumerate(groups.values()):
        values = np.asarray(given, dtype=float)
        places = k + _WIDTH * (np.arange(len(values)) % 7 / 7 - 0.43) * 0.6
        axis.plot(places, values, "o", markersize=4, alpha=0.6, color=_style(k)["color"])
        if len(values):
            axis.hlines(values.mean(), k - 0.35, k + 0.35, color="red", linewidth=1.5)
    axis.set_xticks(range(len(groups)), [name.replace(" (", "\n(") for name in groups], rotation=30, ha="right")
    axis.tick_params(axis="x", labelsize=7)


def patients_chart(dice: Mapping[str, Sequence[float]]) -> str:
    """
    Args:
        dice: by method, of each patient.
    """
    figure, axis = _axes("", "Dice of a patient")
    _strip(axis, dice)
    axis.set(ylim=(0, 1))
    return _svg(figure, "Each patient at the normals' threshold; red: mean")


def sizes_chart(recall: Mapping[str, Sequence[float | None]], bins: Sequence[str], counts: Sequence[int]) -> str:
    """
    Args:
        recall: by method, share of the lesions of each size that is found.
        bins: names of the sizes.
        counts: lesions of each size.
    """
    figure, axis = _axes("equivalent diameter of the lesion", "lesions found")
    width = _WIDTH / max(len(recall), 1)
    for k, (name, values) in enumerate(recall.items()):
        heights = [0.0 if value is None else value for value in values]
        places = np.arange(len(bins)) + (k - (len(recall) - 1) / 2) * width
        axis.bar(places, heights, width * 0.9, label=name, color=_style(k)["color"])
    axis.set_xticks(range(len(bins)), [f"{name}\nn = {count}" for name, count in zip(bins, counts)])
    axis.set(ylim=(0, 1.02))
    _legend(figure, axis)
    return _svg(figure, "Lesions found by size, at the normals' threshold")


def healthy_rate_chart(rates: Mapping[str, Sequence[float]], rate: float) -> str:
    """
    Args:
        rates: by method, share of healthy voxels that is found in each normal scan.
        rate: that was asked for.
    """
    figure, axis = _axes("", "healthy voxels found")
    _strip(axis, {name: np.maximum(values, 1e-5).tolist() for name, values in rates.items()})
    axis.axhline(rate, color="red", linestyle="--", linewidth=1)
    axis.set_yscale("log")
    axis.set(ylim=(0.8e-5, 1))
    return _svg(figure, f"Each normal test scan; dashed: the rate that was asked for, {rate:.2%}; lowest line: none")


def asked_and_found_chart(found: Mapping[float, Sequence[float]]) -> str:
    """
    Args:
        found: by rate that is asked for, share of healthy voxels above its threshold in each scan.
    """
    figure, axis = _axes("healthy voxels above the threshold, asked for", "found in each scan")
    for rate, values in found.items():
        axis.plot([rate] * len(values), np.maximum(values, 1e-6), "o", color="black", markersize=4, alpha=0.5)
        if len(values):
            axis.plot(rate, max(float(np.mean(values)), 1e-6), "_", color="red", markersize=18, markeredgewidth=2)
    if found:
        ends = [min(found), max(found)]
        axis.plot(ends, ends, color="red", linestyle="--", linewidth=1)
    axis.set(xscale="log", yscale="log")
    axis.invert_xaxis()
    return _svg(figure, "Asked for and found, each normal scan; red: mean, dashed: as asked")


def scores_chart(scores: Mapping[str, float]) -> str:
    """
    Args:
        scores: of each normal scan, by its name.
    """
    figure, axis = _axes("", "score of the scan")
    names = sorted(scores, key=lambda name: -scores[name])
    axis.plot(range(len(names)), [scores[name] for name in names], "o", color="black", markersize=4)
    axis.set_xticks(range(len(names)), names if len(names) <= 30 else [""] * len(names), rotation=60, ha="right")
    axis.tick_params(axis="x", labelsize=6)
    return _svg(figure, "How unusual each normal scan is; look at the highest ones")
