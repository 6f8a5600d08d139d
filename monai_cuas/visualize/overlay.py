# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of a scan with its anomaly map and mask.

Convention: axial slices seen from the feet (radiological), so the patient's right is on the left of the picture, where
an R stands, and anterior is up. Figures are made without pyplot: nothing global is touched, so threads may draw too.
"""

from __future__ import annotations

import os

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..io.orientation import to_ras
from ..utils import replacing

__all__ = ["choose_slices", "display_slice", "draw_overlay", "draw_panel", "grey_window", "save_figure"]

# maps side by side in a panel
_PANEL_COLUMNS = 8
_SCORE_TICKS = (1.0, 2.0, 3.0, 4.0)  # healthy rates 10%, 1%, 0.1%, 0.01%


def display_slice(volume: np.ndarray, index: int) -> np.ndarray:
    """Return axial slice ``index`` of an RAS volume as rows from anterior, columns from the patient's right."""
    return volume[::-1, ::-1, index].T


def grey_window(scan: np.ndarray, brain: np.ndarray) -> tuple[float, float]:
    """Return the grey range for display: 1st to 99.5th percentile of the brain."""
    values = scan[brain.astype(bool)] if brain.any() else scan.ravel()
    low, high = np.nanpercentile(values, (1, 99.5))
    return float(low), float(max(high, low + 1e-6))


def choose_slices(mask: np.ndarray, brain: np.ndarray, count: int = 6) -> list[int]:
    """
    Choose axial slices: those with enough brain, in ``count`` parts; of each part the slice with most of the mask.

    Args:
        mask: (X, Y, Z), what should be seen.
        brain: brain mask of the same shape.
        count: number of slices.

    Returns:
        Ascending slice numbers; fewer than ``count`` if the volume has fewer slices.
    """
    cover = brain.astype(bool).sum(axis=(0, 1))
    shown = np.flatnonzero(cover >= 0.2 * cover.max())
    areas = mask.astype(bool).sum(axis=(0, 1))
    chosen = []
    for part in np.array_split(shown, count):
        if len(part):
            best = int(part[np.argmax(areas[part])])
            chosen.append(best if areas[best] else int(part[len(part) // 2]))
    return chosen


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 110) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png", dpi=dpi, facecolor=figure.get_facecolor())


def _box(brain: np.ndarray, margin: int = 3) -> tuple[slice, slice]:
    if not brain.any():
        return slice(None), slice(None)
    x, y = (np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return (
        slice(max(int(x[0]) - margin, 0), int(x[-1]) + margin + 1),
        slice(max(int(y[0]) - margin, 0), int(y[-1]) + margin + 1),
    )


def _show(axis, grey, scores, mask, window, norm, aspect, colour="magenta"):  # type: ignore[no-untyped-def]
    axis.imshow(grey, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, interpolation="nearest")
    artist = None
    if scores is not None:
        visible = np.ma.masked_less(np.nan_to_num(scores), norm.vmin)
        artist = axis.imshow(visible, cmap="autumn", norm=norm, alpha=0.5, aspect=aspect, interpolation="nearest")
    if mask is not None:
        _outline(axis, mask, colour)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return artist


def _outline(axis, mask, colour) -> None:  # type: ignore[no-untyped-def]
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), levels=[0.5], colors=colour, linewidths=0.8)


def _letters(axis) -> None:  # type: ignore[no-untyped-def]
    for x, letter in ((0.03, "R"), (0.97, "L")):
        axis.text(x, 0.5, letter, color="white", fontsize=9, ha="center", va="center", transform=axis.transAxes)


def _colour_bar(figure: Figure, artist, axes, norm: Normalize) -> None:  # type: ignore[no-untyped-def]
    bar = figure.colorbar(artist, ax=axes, fraction=0.012, pad=0.01)
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    ticks = sorted({low, *(t for t in _SCORE_TICKS if low < t <= high + 1e-6)})
    bar.set_ticks(ticks, labels=[f"1 in {10**t:.0f}" for t in ticks])
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.set_label("as high in healthy brain", color="white", fontsize=8)


def draw_overlay(
    path: str | os.PathLike,
    scan: np.ndarray,
    anomaly: np.ndarray,
    mask: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    threshold: float,
    title: str,
    n_slices: int = 6,
    truth: np.ndarray | None = None,
) -> None:
    """
    Draw axial slices of a scan: plain above, with the anomaly map and the outline of the mask below.

    Args:
        path: PNG to write.
        scan: intensities, (X, Y, Z), as are the other volumes.
        anomaly: -log10 of the healthy exceedance rate.
        mask: voxels taken for lesion.
        brain: brain mask.
        affine: voxel to RAS millimetres.
        threshold: score from which the map is shown.
        title: text above.
        n_slices: number of slices.
        truth: the true mask, outlined in green, where there is one; slices are chosen to show it too.
    """
    (scan, spacing), (anomaly, _) = to_ras(scan, affine), to_ras(anomaly, affine)
    (mask, _), (brain, _) = to_ras(mask, affine), to_ras(brain, affine)
    true = np.zeros_like(mask) if truth is None else to_ras(truth, affine)[0]
    window, norm = grey_window(scan, brain), Normalize(threshold, threshold + 2.0)
    wanted = mask if truth is None else np.asarray(mask, dtype=bool) | np.asarray(true, dtype=bool)
    slices, (x, y) = choose_slices(wanted, brain, n_slices), _box(brain)
    scan, anomaly, mask, true = (np.asarray(v)[x, y] for v in (scan, anomaly, mask, true))
    aspect = spacing[1] / spacing[0]
    height = 2.0 * scan.shape[1] * aspect / scan.shape[0]
    figure = Figure(figsize=(2.0 * len(slices) + 0.9, 2 * height + 0.5), facecolor="black", layout="constrained")
    axes = figure.subplots(2, len(slices), squeeze=False)
    artist = None
    for column, index in enumerate(slices):
        grey, scores, outline = (display_slice(v, index) for v in (scan, anomaly, mask))
        _show(axes[0, column], grey, None, None, window, norm, aspect)
        artist = _show(axes[1, column], grey, scores, outline, window, norm, aspect, "magenta")
        for axis in axes[:, column]:
            _outline(axis, display_slice(true, index), "lime")
        axes[0, column].set_title(f"slice {index + 1}", color="white", fontsize=8)
    _letters(axes[0, 0])
    _letters(axes[1, 0])
    _colour_bar(figure, artist, axes, norm)
    figure.suptitle(title, color="white", fontsize=11)
    save_figure(figure, path)


def draw_panel(path: str | os.PathLike, rows: list[dict], methods: list[str], rate: float) -> None:
    """
    Draw test slices, one a row: the scan with the true outline, then each method's map on the common calibrated scale.

    Many methods are broken into blocks below each other, each with the scan again: one row of them could not be read.

    Args:
        path: PNG to write.
        rows: each with "title", "scan", "label", "brain", (H, W) display slices; "aspect"; "maps", slices by method.
        methods: order of the columns.
        rate: healthy rate of the calibrated threshold; from it on the maps are outlined.
    """
    threshold = -float(np.log10(rate))
    norm = Normalize(0.0, threshold + 1.0)
    blocks = _blocks(methods)
    columns = 1 + max(map(len, blocks), default=0)
    lines = max(len(blocks), 1) * len(rows)
    figure = Figure(figsize=(2.0 * columns + 0.8, 2.2 * lines + 0.5), facecolor="black", layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    artist = None
    for number, block in enumerate(blocks or [[]]):
        part = axes[number * len(rows) : (number + 1) * len(rows)]
        for line, row in zip(part, rows):
            artist = _show_row(line, row, block, norm, threshold) or artist
        for axis, name in zip(part[0], ["scan, true outline", *block]):
            axis.set_title(name, color="white", fontsize=8)
    if artist is not None:
        _panel_bar(figure, artist, axes)
    # two lines: a panel of one method is narrow
    title = f"green: true outline\nblue: calibrated threshold ({rate:.2%} of healthy voxels)"
    figure.suptitle(title, color="white", fontsize=9)
    save_figure(figure, path)


def _show_row(line, row: dict, methods: list[str], norm: Normalize, threshold: float):  # type: ignore[no-untyped-def]
    """One slice: the scan, then the methods' maps; returns the last map's artist, for the colour bar."""
    artist = None
    window = grey_window(row["scan"], row["brain"])
    _show(line[0], row["scan"], None, row["label"], window, norm, row["aspect"], "lime")
    line[0].set_ylabel(row["title"], color="white", fontsize=7)
    for axis, method in zip(line[1:], methods):
        score = np.nan_to_num(row["maps"][method])
        artist = axis.imshow(score, cmap="inferno", norm=norm, aspect=row["aspect"], interpolation="nearest")
        _show_outlines(axis, row["label"], score >= threshold)
    for axis in line[1 + len(methods) :]:
        axis.set_axis_off()
    return artist


def _blocks(methods: list[str]) -> list[list[str]]:
    """Methods in blocks of about equal length, none longer than the picture is to be wide."""
    count = -(-len(methods) // _PANEL_COLUMNS)
    return [list(block) for block in np.array_split(np.array(methods, dtype=object), count)] if count else []


def _show_outlines(axis, label, found) -> None:  # type: ignore[no-untyped-def]
    for outline, colour in ((found, "deepskyblue"), (label, "lime")):
        if outline.any() and not outline.all():
            axis.contour(outline.astype(float), levels=[0.5], colors=colour, linewidths=0.7)
    axis.set_xticks([])
    axis.set_yticks([])


def _panel_bar(figure: Figure, artist, axes) -> None:  # type: ignore[no-untyped-def]
    bar = figure.colorbar(artist, ax=axes, fraction=0.012, pad=0.01)
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.set_label("anomaly score, -log10(healthy rate)", color="white", fontsize=8)
