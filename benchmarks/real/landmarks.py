# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What the levels of the intensity landmarks do to large lesions:

    python benchmarks/real/landmarks.py --lists LISTS/lgg_flair

AUPRC of the smoothed standardised intensity, pooled over some 40000 voxels of each patient of folds 1 to 3 (training,
validation and calibration scans, whole and with their true masks), for sets of levels. Nothing is trained, and folds 4
and 5 are not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from sklearn.metrics import average_precision_score

from monai_cuas.data.datalist import load_datalist
from monai_cuas.inferers import BrainSmoothing
from monai_cuas.networks.layers import DEFAULT_LEVELS, LandmarkStandardization
from monai_cuas.transforms.intensity import ForegroundQuantileScale

BEFORE = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
LEVELS = {"eleven, up to 99%": BEFORE, "up to 90%": BEFORE[:-1], "up to 70%": BEFORE[:8], "as now": DEFAULT_LEVELS}
_VOXELS = 40_000


def _volume(path: str | Path) -> tuple[np.ndarray, tuple[float, ...]]:
    image = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32), tuple(float(z) for z in image.header.get_zooms()[:3])


def _smoothed(
    scans: list[np.ndarray], spacings: list[tuple[float, ...]], levels: tuple[float, ...]
) -> list[np.ndarray]:
    """Standardised and smoothed (2 mm) as the package does it, but on each scan's own grid."""
    scale, learnt, smooth = ForegroundQuantileScale(levels), LandmarkStandardization(1, levels), BrainSmoothing(2.0)
    inside = [scan[None] > 0 for scan in scans]
    learnt.fit(torch.stack([scale.quantiles(scan[None], mask) for scan, mask in zip(scans, inside)]))
    found = []
    for scan, mask, spacing in zip(scans, inside, spacings):
        image = learnt(torch.as_tensor(scale(scan[None], mask))[None])
        found.append(smooth(image, torch.as_tensor(mask)[None], spacing)[0, 0].numpy())
    return found


def main() -> None:
    """Print a row for each set of levels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=Path, required=True, help="folder of lgg_flair's dataset.json")
    args = parser.parse_args()
    names = ("training", "validation", "calibration")
    entries = [entry for name in names for entry in load_datalist(args.lists / "dataset.json", name)]
    scans, spacings = zip(*(_volume(entry["image"]) for entry in entries))
    # the lists have masks that are widened for training; the true ones lie beside the scans
    labels = [Path(e["image"]).parents[1] / "labels" / Path(e["image"]).name for e in entries]
    brains = [scan > 0 for scan in scans]
    steps = [max(1, int(brain.sum()) // _VOXELS) for brain in brains]
    truth = [(_volume(label)[0] > 0)[brain][::step] for label, brain, step in zip(labels, brains, steps)]
    for name, levels in LEVELS.items():
        maps = _smoothed(list(scans), list(spacings), levels)
        pooled = [found[brain][::step] for found, brain, step in zip(maps, brains, steps)]
        print(f"| {name} | {average_precision_score(np.concatenate(truth), np.concatenate(pooled)):.3f} |")


if __name__ == "__main__":
    main()
