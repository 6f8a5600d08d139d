# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
A model beside all that needs no training, on the same scans:

    python benchmarks/real/judge.py --model RUN/model.pt --normals LISTS/lgg_flair --test LISTS/lgg_flair --output OUT

Rows: the model, its map alone, the same network with random weights, and the intensity raw, smoothed, median-filtered,
two-sided and equalised. Thresholds of all come from the calibration scans of ``--normals``; the test scans are only
counted. Beside the figures of ``evaluate`` (healthy rate: of the list's normal test scans at the 1% threshold): mean
Dice of a patient with a 95% bootstrap interval over patients, and a paired Wilcoxon test against each other row.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from monai_cuas import load_model
from monai_cuas.calibration.normal_level import fit_normal_level
from monai_cuas.data.datalist import load_datalist
from monai_cuas.evaluation.evaluate import baselines, evaluate
from monai_cuas.inferers import CalibratedInferer, JoinedMapInferer, StandardizedIntensityInferer
from monai_cuas.metrics import FEWEST, mean_interval
from monai_cuas.networks.layers import ScoreCalibration
from monai_cuas.pipeline import Model
from monai_cuas.transforms import AnomalyPostprocessing


class _Other(CalibratedInferer):
    """A method with a network of its own."""

    def __init__(self, inferer: Any, network: torch.nn.Module) -> None:
        super().__init__(inferer, ScoreCalibration())
        self.other = network

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        self.other.to(inputs.device)
        return super().__call__(inputs, self.other, *args, **kwargs)


def _untrained(model: Model, normals: Path) -> torch.nn.Module:
    """The model's network as it was before training; landmarks and level are of the same normals."""
    torch.manual_seed(0)
    network = model.recipe.make_network()
    network.standardize.load_state_dict(model.network.standardize.state_dict())  # type: ignore[union-attr]
    inferer, validation = model.map_inferer(), load_datalist(normals / "dataset.json", "validation", True)
    if isinstance(inferer, JoinedMapInferer) and validation:
        training = load_datalist(normals / "dataset.json", "training", True)
        fit_normal_level(network, validation, model.preprocessing().for_slices(), inferer, texture_list=training)
    return network.eval()


def rows(model: Model, normals: Path) -> dict[str, CalibratedInferer]:
    """All rows, the model's first."""
    found: dict[str, CalibratedInferer] = {model.method: model.inferer()}
    inferer = model.map_inferer()
    if isinstance(inferer, JoinedMapInferer):
        alone = JoinedMapInferer(**{**inferer.arguments, "intensity_weight": 0.0})
        found["its map alone"] = CalibratedInferer(alone, ScoreCalibration())
    found["the same, untrained"] = _Other(model.map_inferer(), _untrained(model, normals))
    smoothing = getattr(inferer, "arguments", {}).get("smoothing", 2.0)
    smooth = StandardizedIntensityInferer(smoothing=smoothing)
    found["raw intensity (smoothed)"] = CalibratedInferer(smooth, ScoreCalibration())
    found["raw intensity (5x5 median)"] = CalibratedInferer(StandardizedIntensityInferer(median=5), ScoreCalibration())
    return {**found, **baselines()}


_COLUMNS = {
    "auprc": "AUPRC",
    "dice_pooled": "Dice",
    "oracle_dice": "oracle Dice",
    "scan_auroc": "scan AUROC",
    "slice_auroc": "slice AUROC",
    "lesion_recall": "lesion recall",
    "fp_per_scan": "FP per scan",
    "lesion_dice": "lesion-wise Dice",
    "pq": "PQ",
    "fpr_normal_pooled": "healthy rate",
}


def table(report: dict[str, Any], first: str) -> str:
    """Markdown: figures that the scans allow, mean Dice of a patient with its interval, and the paired test."""
    dice = {name: [row["dice"] for row in method["patients"]] for name, method in report["methods"].items()}
    groups = {name: method["groups"].get("all lesions", {}) for name, method in report["methods"].items()}
    known = [key for key in _COLUMNS if any(group.get(key) is not None for group in groups.values())]
    titles = [_COLUMNS[key] for key in known]
    titles += ["mean Dice of a patient (95%)", "p against the first"] if dice[first] else []
    lines = [f"| method | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, group in groups.items():
        figures = ["-" if group.get(key) is None else f"{group[key]:.3f}" for key in known]
        if dice[first]:
            figures += _compared(dice[name], report["against_first"].get(name))
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _compared(dice: list[float], against: dict[str, Any] | None) -> list[str]:
    """Mean with its interval, and how sure the difference from the first row is; of two patients, the mean alone."""
    mean, low, high = mean_interval(dice)
    if len(dice) < FEWEST:
        return [f"{mean:.3f}", ""]
    return [f"{mean:.3f} ({low:.3f} to {high:.3f})", f"{against['dice']['p']:.2g}" if against else ""]


def main() -> None:
    """Evaluate every row and write ``judged.md`` beside evaluate's own files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--normals", type=Path, required=True, help="folder of a dataset.json with calibration scans")
    parser.add_argument("--test", type=Path, required=True, help="folder of a dataset.json with test scans")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    model = load_model(args.model)
    preprocessing = model.preprocessing()
    tests = [load_datalist(args.test / "dataset.json", name, True) for name in ("test_normal", "test_lesion")]
    evaluate(
        model.network,
        rows(model, args.normals),
        load_datalist(args.normals / "dataset.json", "calibration"),
        [entry for entries in tests for entry in entries],
        preprocessing,
        AnomalyPostprocessing(preprocessing, rate=None),
        args.output,
        device=model.device,
        with_baselines=False,
    )
    report = json.loads((args.output / "evaluation.json").read_text(encoding="utf-8"))
    text = table(report, model.method)
    (args.output / "judged.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
