# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
How much of a healthy brain a model marks, by site, on scans that it has never seen:

    python benchmarks/real/healthy_rate.py --model MODEL.pt --test LISTS/lgg_flair LISTS/ixi_t1 --output rates.json

Counted are the brain's voxels in slices without a lesion that are not next to one either, on each scan's own grid. The
notes are counted too: how many scans the model says to be out of its depth on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from monai_cuas import load_model
from monai_cuas.data.datalist import load_datalist
from monai_cuas.utils import write_json


def _healthy_slices(entry: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Slices of the last axis that count."""
    if "label" not in entry:
        return np.ones(shape[2], dtype=bool)
    image: Any = nib.load(entry["label"])
    sick = (np.asarray(image.dataobj) > 0).any(axis=(0, 1))
    return ~ndimage.binary_dilation(sick, iterations=1)


def rates(model: Any, entries: list[dict[str, Any]], rate: float) -> dict[str, dict[str, Any]]:
    """By site: scans, mean and highest share of the brain that is found, scans with a note of depth."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for entry in entries:
        finding = model.find(entry["image"], rate)
        slices = _healthy_slices(entry, finding.mask.shape)
        brain = finding.brain[..., slices] > 0
        doubted = any("out of its depth" in note for note in finding.notes)
        if brain.any():
            share = float((finding.mask[..., slices] > 0)[brain].mean())
            found.setdefault(str(entry.get("site", "")), []).append((share, doubted))
    return {
        site: {
            "scans": len(scans),
            "mean": float(np.mean([share for share, _ in scans])),
            "highest": max(share for share, _ in scans),
            "out_of_depth": sum(doubted for _, doubted in scans),
        }
        for site, scans in sorted(found.items())
    }


def main() -> None:
    """Count, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders of dataset.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=0.01)
    args = parser.parse_args()
    model, entries = load_model(args.model), []
    for folder in args.test:
        for name in ("test_normal", "test_lesion"):
            entries += load_datalist(folder / "dataset.json", name, True)
    figures = rates(model, entries, args.rate)
    write_json(args.output, figures)
    for site, row in figures.items():
        print(f"| {site} | {row['scans']} | {row['mean']:.2%} | {row['highest']:.1%} | {row['out_of_depth']} |")


if __name__ == "__main__":
    main()
