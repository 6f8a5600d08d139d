# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What a model found and what it missed, in pictures:

    python benchmarks/real/gallery.py --model RUN/model.pt --test LISTS/lgg_flair --name flair --output docs/images

Every test scan with a lesion mask is judged by its own Dice at the threshold of normals. ``gallery_NAME_hits.png``: the
best of them; ``gallery_NAME_misses.png``: the worst. Each scan stands with its slice that holds most of the lesion:
green is the true outline, magenta the mask, above the plain scan and below the map from 0 to 3. No scan is chosen by
hand; seen from the feet, the patient's right is on the left.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from monai_cuas import load_model
from monai_cuas.data.datalist import load_datalist
from monai_cuas.io.orientation import to_ras
from monai_cuas.utils.progress import track
from monai_cuas.visualize.overlay import display_slice, grey_window, save_figure


def _row(model: Any, entry: dict[str, Any], rate: float) -> dict[str, Any]:
    """One scan: Dice, volumes in ml, and slices as they are shown."""
    found = model.find(entry["image"], rate=rate)
    label = np.asarray(nib.load(entry["label"]).dataobj) > 0  # type: ignore[attr-defined]
    scan = np.nan_to_num(np.asarray(nib.load(entry["image"]).dataobj, dtype=np.float32))  # type: ignore[attr-defined]
    mask, brain = found.mask > 0, found.brain > 0
    ml = abs(np.linalg.det(found.affine[:3, :3])) / 1000
    shown = {"scan": scan, "label": label, "mask": mask, "map": found.map, "brain": brain}
    (first, spacing), *others = (to_ras(volume, found.affine) for volume in shown.values())
    volumes = dict(zip(shown, [first, *(volume for volume, _ in others)]))
    index = int(volumes["label"].sum(axis=(0, 1)).argmax())
    return {
        "dice": 2 * float((mask & label).sum()) / max(1, int(mask.sum() + label.sum())),
        "lesion_ml": float(label.sum() * ml),
        "found_ml": float(mask.sum() * ml),
        "aspect": spacing[1] / spacing[0],
        "window": grey_window(volumes["scan"], volumes["brain"]),
        **{name: display_slice(np.asarray(volume), index) for name, volume in volumes.items()},
    }


def _cut(row: dict[str, Any]) -> tuple[slice, slice]:
    """The brain of the slice, with a margin."""
    y, x = (np.flatnonzero(row["brain"].any(axis=axis)) for axis in (1, 0))
    return slice(max(y[0] - 3, 0), y[-1] + 4), slice(max(x[0] - 3, 0), x[-1] + 4)


def draw(path: Path, rows: list[dict[str, Any]], title: str) -> None:
    """One scan a column: plain with the outlines, below the map."""
    figure = Figure(figsize=(2.1 * len(rows), 5.6), facecolor="black", layout="constrained")
    axes = figure.subplots(2, len(rows), squeeze=False)
    for column, row in enumerate(rows):
        cut = _cut(row)
        low, high = row["window"]
        axes[0, column].imshow(row["scan"][cut], cmap="gray", vmin=low, vmax=high, aspect=row["aspect"])
        axes[1, column].imshow(row["map"][cut], cmap="inferno", vmin=0, vmax=3, aspect=row["aspect"])
        for axis in axes[:, column]:
            for outline, colour in ((row["mask"], "magenta"), (row["label"], "lime")):
                if outline[cut].any():
                    axis.contour(outline[cut].astype(float), levels=[0.5], colors=colour, linewidths=0.9)
            axis.set_axis_off()
        text = f"Dice {row['dice']:.2f}\nlesion {row['lesion_ml']:.0f} ml, found {row['found_ml']:.0f} ml"
        axes[0, column].set_title(text, color="white", fontsize=8)
    figure.suptitle(title, color="white", fontsize=10)
    save_figure(figure, path)


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--test", type=Path, required=True, help="folder of a dataset.json with test scans")
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--count", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    model = load_model(args.model)
    entries = load_datalist(args.test / "dataset.json", "test_lesion")
    rows = [_row(model, entry, args.rate) for entry in track(entries, "gallery", total=len(entries))]
    rows.sort(key=lambda row: -row["dice"])
    count = min(args.count, len(rows) // 2)
    green = "green: true outline, magenta: found"
    args.output.mkdir(parents=True, exist_ok=True)
    best, worst = rows[:count], rows[::-1][:count]
    draw(args.output / f"gallery_{args.name}_hits.png", best, f"The {count} best of {len(rows)} scans; {green}")
    draw(args.output / f"gallery_{args.name}_misses.png", worst, f"The {count} worst of {len(rows)} scans; {green}")
    print(", ".join(f"{row['dice']:.2f}" for row in rows))


if __name__ == "__main__":
    main()
