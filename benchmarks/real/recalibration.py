# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Does a threshold hold at another site, and how many of its own normals restore it?

    python benchmarks/real/recalibration.py --model MODEL --first LISTS/ixi_t1 --second LISTS/lgg_t1 --output OUT

Thresholds are set on the calibration scans of ``--first`` (``lists.py``), then on 5, 10 and 20 subjects of
``--second``, drawn ``--draws`` times from its calibration and test scans; those that a draw leaves over are counted, by
their slices without a lesion. None may have been trained on. Beside the healthy rate of all voxels stand the mean and
the largest over scans. Maps are made once for each scan, and only the thresholds are set anew, as ``monai_cuas
calibrate`` does.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from monai_cuas import load_model
from monai_cuas.calibration.fit import calibrate
from monai_cuas.calibration.scoring import score_scans
from monai_cuas.calibration.truth import lesion_free
from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.subjects import subject_of
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.networks.layers import ScoreCalibration
from monai_cuas.pipeline import Model
from monai_cuas.transforms import AnomalyPostprocessing

RATE = 0.01


class Remembered(Inferer):
    """A map inferer that makes the map of a scan once; scans are told apart by their values."""

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer
        self.maps: dict[tuple[Any, ...], torch.Tensor] = {}

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        key = (*inputs.shape, float(inputs.double().sum()), float(inputs.double().square().sum()))
        if key not in self.maps:
            self.maps[key] = self.inferer(inputs, network, *args, **kwargs)
        return self.maps[key]


class Site:
    """Model, preprocessing and maps that thresholds are set on again and again."""

    def __init__(self, model: Model) -> None:
        self.model, self.preprocessing = model, model.preprocessing()
        self.postprocessing = AnomalyPostprocessing(self.preprocessing, rate=None)
        self.maps = Remembered(model.map_inferer())

    def calibrated(self, entries: Sequence[dict[str, Any]]) -> CalibratedInferer:
        """The method with thresholds of these scans."""
        inferer = CalibratedInferer(self.maps, ScoreCalibration())
        how = (self.model.network, entries, self.preprocessing, inferer, self.postprocessing, self.model.device)
        calibrate(*how)
        return inferer

    def healthy_rates(
        self, entries: Sequence[dict[str, Any]], methods: dict[str, CalibratedInferer]
    ) -> dict[str, list[tuple[int, int]]]:
        """Of each scan, how many healthy voxels each method finds at the rate, and of how many."""
        found: dict[str, list[tuple[int, int]]] = {name: [] for name in methods}

        def prepare(entry: dict[str, Any]) -> dict[str, Any]:
            item = dict(self.preprocessing({k: v for k, v in entry.items() if k != "label"}))
            return {**item, "healthy": lesion_free(entry, item["brain_mask"])}

        scored = score_scans(
            entries, prepare, self.model.network, methods, self.postprocessing, self.model.device, "counting"
        )
        for item, maps in scored:
            for name, values in maps.items():
                healthy = np.asarray(values)[item["healthy"]]
                found[name].append((int((healthy >= -math.log10(RATE)).sum()), len(healthy)))
        return found


def summary(counts: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Healthy rate of all voxels, and mean and largest over scans."""
    array = np.array(counts, dtype=float)
    shares = array[:, 0] / array[:, 1]
    pooled = float(array[:, 0].sum() / array[:, 1].sum())
    return {"pooled": pooled, "mean": float(shares.mean()), "largest": float(shares.max())}


def run(site: Site, first: Sequence[dict], second: Sequence[dict], numbers: Sequence[int], draws: int) -> list[dict]:
    """One row for the thresholds of the first site, one for each number of own normals and each draw."""
    away, rows = site.calibrated(first), []
    subjects = sorted({subject_of(entry) for entry in second})
    for draw in range(draws):
        order = list(np.random.default_rng(draw).permutation(subjects))
        # the same scans are counted whatever the number, so that the rows can be compared
        held_out = [entry for entry in second if subject_of(entry) in order[max(numbers) :]]
        methods = {"first": away}
        for number in numbers:
            own = [entry for entry in second if subject_of(entry) in order[:number]]
            methods[str(number)] = site.calibrated(own)
        for name, counts in site.healthy_rates(held_out, methods).items():
            rows.append({"thresholds": name, "draw": draw, "scans": len(counts), **summary(counts)})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean over draws, and the lowest and highest of them."""
    lines = [
        f"| thresholds of | healthy voxels found at {RATE:.0%} (lowest, highest draw) | mean of scans | worst scan |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["thresholds"] for row in rows):
        mine = [row for row in rows if row["thresholds"] == name]
        pooled = [row["pooled"] for row in mine]
        figures = [f"{np.mean(pooled):.2%} ({min(pooled):.2%} to {max(pooled):.2%})"]
        figures += [f"{np.mean([row[key] for row in mine]):.2%}" for key in ("mean", "largest")]
        label = "the first site" if name == "first" else f"{name} own normals"
        lines.append(f"| {label} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Write ``recalibration.json`` and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="weights file, or shipped weights by name")
    parser.add_argument("--first", type=Path, required=True, help="folder of a dataset.json with calibration scans")
    parser.add_argument("--second", type=Path, required=True, help="the same of another site")
    parser.add_argument("--numbers", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    second = [
        entry
        for name in ("calibration", "test_normal", "test_lesion")
        for entry in load_datalist(args.second / "dataset.json", name, True)
    ]
    if len({subject_of(entry) for entry in second}) <= max(args.numbers):
        raise SystemExit(f"{args.second}: too few subjects to count on beside {max(args.numbers)} normals.")
    first = load_datalist(args.first / "dataset.json", "calibration")
    rows = run(Site(load_model(args.model)), first, second, args.numbers, args.draws)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "recalibration.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
