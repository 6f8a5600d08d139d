# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Does the guaranteed rate hold on fresh normal scans? Many random splits into calibration and test
(docs/explanation/calibration.md).

Each scan's raw map is made once and kept as its exceedance curve, so a split costs next to nothing. Over random splits
of a fixed set the scans of a split are exchangeable, so the mean over splits must keep the guarantee.

    python benchmarks/guarantee.py maps --weights RUN/model.pt --output curves.npz \\
        --lists COHORT/dataset.json:calibration COHORT/dataset.json:test_normal
    python benchmarks/guarantee.py splits --curves curves.npz --calibration 12 --max_fraction 0.05 0.1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from monai.bundle import ConfigParser

from monai_cuas.calibration.risk_control import ExceedanceCurve, guaranteed_threshold
from monai_cuas.calibration.scoring import score_scans
from monai_cuas.data.datalist import load_datalist
from monai_cuas.evaluation.evaluate import baselines
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.metrics import top_fraction_mean

CONFIGS = Path(__file__).parents[1] / "bundles" / "cuas" / "configs"


def make_maps(args: argparse.Namespace) -> None:
    """Raw maps behind the bundle's postprocessing, each kept as curve, scan statistic and number of voxels."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "inference.json"), str(CONFIGS / "calibrate.json")])
    parser.update({"bundle_root": str(CONFIGS.parent), "device": "cpu", "ckpt_path": args.weights})
    network = parser.get_parsed_content("network_def")
    methods = {args.name: parser.get_parsed_content("inferer"), **(baselines() if args.baselines else {})}
    raw = {name: CalibratedInferer(method.inferer, raw=True) for name, method in methods.items()}
    entries = [e for item in args.lists for e in load_datalist(*item.rsplit(":", 1))]
    subjects = [e["subject"] for e in entries]
    if len(set(subjects)) != len(subjects):
        raise SystemExit("a subject is listed twice: calibration and test would share it.")
    kept: dict[str, np.ndarray] = {"methods": np.array(list(raw))}
    parts = (parser.get_parsed_content(name) for name in ("preprocessing", "map_postprocessing"))
    preprocessing, postprocessing = parts
    scans = 0
    for item, maps in score_scans(entries, preprocessing, network, raw, postprocessing, desc="maps"):
        brain = np.asarray(item["brain_mask"])[0] > 0
        for k, anomaly in enumerate(maps.values()):
            values = np.nan_to_num(np.asarray(anomaly, dtype=np.float32)[brain])
            curve = ExceedanceCurve.of(values)
            kept[f"{k}_{scans}_knots"], kept[f"{k}_{scans}_shares"] = curve.knots, curve.shares
            kept[f"{k}_{scans}_scan"] = np.array([top_fraction_mean(values), len(values)])
        scans += 1
    np.savez_compressed(args.output, n_scans=scans, **kept)


def pooled_threshold(curves: list[ExceedanceCurve], voxels: np.ndarray, rate: float) -> float:
    """Smallest value that a share of at most ``rate`` of all voxels, pooled over the scans, reaches."""
    candidates = np.unique(np.concatenate([c.knots for c in curves]))
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        share = sum(n * float(c(candidates[middle])) for c, n in zip(curves, voxels)) / voxels.sum()
        low, high = (low, middle) if share <= rate else (middle + 1, high)
    return float(candidates[low])


def p_values(calibration: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Conformal p-values of test scans."""
    return (1 + (calibration[None] >= test[:, None]).sum(axis=1)) / (len(calibration) + 1)


def _cells(values: np.ndarray, asked: float) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values))
    above = (values > asked).mean()
    return f"{values.mean():.3%} | {error:.3%} | {above:.0%} | {values.max():.2%}"


def split_many(args: argparse.Namespace) -> None:
    """Print Markdown: realised rate and p-values over random splits."""
    with np.load(args.curves) as kept:
        data = dict(kept)
    n, generator = int(data["n_scans"]), np.random.default_rng(args.seed)
    orders = [generator.permutation(n) for _ in range(args.splits)]
    n_cal = args.calibration
    print(f"{n} normal scans, {n_cal} calibrate, {n - n_cal} test, {args.splits} random splits\n")
    print("| method | asked | threshold | mean realised | SE | splits above asked | worst split |")
    print("|---|---|---|---|---|---|---|")
    p_lines = []
    for k, name in enumerate(data["methods"]):
        curves = [ExceedanceCurve(data[f"{k}_{i}_knots"], data[f"{k}_{i}_shares"]) for i in range(n)]
        score, voxels = np.array([data[f"{k}_{i}_scan"] for i in range(n)]).T
        for rate in args.rates:
            kinds = [("pooled", 1.0), *((f"guaranteed, at most {b:g}", b) for b in args.max_fraction)]
            for kind, bound in kinds:
                realised = []
                for order in orders:
                    calibrating, testing = [curves[i] for i in order[:n_cal]], [curves[i] for i in order[n_cal:]]
                    if kind == "pooled":
                        threshold = pooled_threshold(calibrating, voxels[order[:n_cal]], rate)
                    else:
                        threshold = guaranteed_threshold(calibrating, rate, bound)
                    realised.append(np.mean([min(float(c(threshold)), bound) for c in testing]))
                known = not np.isnan(threshold)
                cells = _cells(np.array(realised), rate) if known else "not supported | | | "
                print(f"| {name} | {rate:.0%} | {kind} | {cells} |", flush=True)
        orders_p = [generator.permutation(n) for _ in range(args.p_splits)]
        pairs = [p_values(score[o[:n_cal]], score[o[n_cal:]]) for o in orders_p]
        # a p-value is a fraction of n + 1: compared up to rounding
        shares = np.array([[(p <= a + 1e-12).mean() for a in args.alphas] for p in pairs])
        errors = shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
        p_lines.append(
            f"| {name} | " + " | ".join(f"{m:.3f} ({e:.3f})" for m, e in zip(shares.mean(axis=0), errors)) + " |"
        )
    print("\nShare of test normals with a scan p-value of at most alpha (SE)\n")
    print("| method | " + " | ".join(f"alpha {a:g}" for a in args.alphas) + " |")
    print("|---" * (len(args.alphas) + 1) + "|")
    print("\n".join(p_lines))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    commands = parser.add_subparsers(required=True)
    maps = commands.add_parser("maps", help="make each scan's map once")
    maps.add_argument("--weights", required=True)
    maps.add_argument("--name", default="model", help="the method's name in the tables")
    maps.add_argument("--lists", nargs="+", required=True, help="DATASET.JSON:LIST of normals not trained on")
    maps.add_argument("--baselines", action="store_true", help="also raw intensity and histogram equalisation")
    maps.add_argument("--output", required=True)
    maps.set_defaults(run=make_maps)
    splits = commands.add_parser("splits", help="calibrate and test on random splits")
    splits.add_argument("--curves", required=True)
    splits.add_argument("--calibration", type=int, required=True, help="calibration scans of each split")
    splits.add_argument("--splits", type=int, default=100)
    splits.add_argument("--p_splits", type=int, default=2000, help="splits for the scans' p-values, which are cheap")
    splits.add_argument("--rates", type=float, nargs="*", default=[0.01, 0.05])
    splits.add_argument("--max_fraction", type=float, nargs="+", default=[1.0])
    splits.add_argument("--alphas", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    splits.add_argument("--seed", type=int, default=0)
    splits.set_defaults(run=split_many)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
