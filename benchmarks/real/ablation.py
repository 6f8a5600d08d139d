# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Does the paper's constraint do anything? Presets of ``configs/paper`` with other weights of it, on real scans:

    python benchmarks/real/ablation.py run --lists LISTS --sequence flair --steps 300 --output OUT --rows 'amcons *'
    python benchmarks/real/ablation.py table --output OUT
    python benchmarks/real/ablation.py draw --output OUT --sequence flair --picture CURVES.png

``LISTS`` is of ``lists.py``. A training sees lesion-free slices of folds 1 to 3; folds 4 and 5 and, for FLAIR, MSLUB
are tested on; lesion-free slices of calibration scans give the threshold, those of validation scans the entropy and the
mean attention. Everything on the network's grid, no preset's erosion unless it is said. A finished row is appended to
``results.jsonl`` and not made again. What lies behind the first stage is computed in bfloat16; stem, first stage, map
and losses, which is where the constraint acts, in float32.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from network_grid import (
    CONFIGS,
    SIZE,
    Benchmark,
    Make,
    Results,
    Scan,
    interval_text,
    judged,
    made_once,
    mean_text,
    smoothed,
)

from monai_cuas.bundle import with_bases
from monai_cuas.losses import attention_entropy, eroded
from monai_cuas.metrics import VoxelRankingMetric
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.networks.utils import has_fast_bfloat16
from monai_cuas.visualize.overlay import save_figure

PAPER_SIZE, WARM_UP = 224, 1 / 6
AMCONS, GRADCAM = "paper/amcons.json", "paper/gradcam_cons_v2.json"

# name: preset, weight of the constraint, part of the training without it, reduction of the ELBO
ROWS: dict[str, tuple[str, float, float, str]] = {
    "AMCons 0.1 (the paper's)": (AMCONS, 0.1, 0.0, "sum"),
    "AMCons 0": (AMCONS, 0.0, 0.0, "sum"),
    "AMCons 1e5": (AMCONS, 1e5, 0.0, "sum"),
    "AMCons 1000": (AMCONS, 1e3, 0.0, "sum"),
    "GradCAMCons 1000 (the paper's)": (GRADCAM, 1e3, WARM_UP, "sum"),
    "GradCAMCons 0": (GRADCAM, 0.0, 0.0, "sum"),
    "AMCons 10": (AMCONS, 10.0, 0.0, "sum"),
    "AMCons 0.1, BCE and KL per pixel and dimension": (AMCONS, 0.1, 0.0, "mean"),
    "GradCAMCons 1000, no warm-up": (GRADCAM, 1e3, 0.0, "sum"),
    "AMCons 0.1, as methods/amcons.json": ("methods/amcons.json", 0.1, 0.0, "sum"),
}
UNTRAINED = "random weights, never trained"
_CURVES = {
    "entropy": "entropy of normals over log n",
    "mean_attention": "mean attention of normals",
    "auprc": "AUPRC of the map, test patients",
}


class _Mixed(AttentionVAE):
    """The stem and the first stage stay in float32, so that a small gradient of the constraint is not rounded away."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().features(x.float())


def _parts(row: str, size: int = SIZE) -> tuple[_Mixed, Any, float]:
    """Network, loss and learning rate of a row, as the preset has them, at a size in pixels."""
    preset, weight, _, reduction = ROWS[row]
    config = ConfigParser()
    config.read_config([str(CONFIGS / "train.json"), *with_bases(str(CONFIGS / preset))])
    config.update({"image_size": size, "constraint_weight": weight, "elbo#reduction": reduction, "device": "cpu"})
    config["channels"] = [64, 128, 256, 512]
    config["network_def"]["_target_"] = _Mixed
    if "erosion" in config["constraint"]:
        config["constraint"]["erosion"] = _erosion(config["constraint"]["erosion"], size)
    parsed = [config.get_parsed_content(name) for name in ("network_def", "loss", "learning_rate")]
    return parsed[0], parsed[1], float(parsed[2])


def _erosion(side: int, size: int) -> int:
    """A side in pixels of the paper's slices in pixels of slices of a size."""
    return round(side * size / PAPER_SIZE)


def _maps(network: torch.nn.Module, image: torch.Tensor) -> np.ndarray:
    """Raw maps of slices, (Z, S, S)."""
    with torch.no_grad():
        return torch.cat([network(part) for part in image.split(16)])[:, 0].numpy()


def _homogeneity(network: torch.nn.Module, bench: Benchmark) -> dict[str, float]:
    """Of held-out lesion-free slices: entropy over its maximum, mean of the sigmoid, spread of the map in the brain."""
    entropies, means, spreads = [], [], []
    for scan in bench.held_out:
        chosen = (scan.brain.flatten(1).sum(1) > 500) & ~scan.label.flatten(1).any(1)
        brain, maps = scan.brain[chosen], torch.as_tensor(_maps(network, scan.image[chosen]))[:, None]
        own = eroded(brain.float(), _erosion(6, bench.size))
        count = own.flatten(1).sum(1)
        known = count > 100
        entropies += (attention_entropy(maps, own.float())[known] / count[known].log()).tolist()
        means += maps.sigmoid().flatten(1).mean(1).tolist()
        spreads += [float(m[b].std()) for m, b in zip(maps, brain)]
    return {
        "entropy": float(np.mean(entropies)),
        "mean_attention": float(np.mean(means)),
        "map_std": float(np.mean(spreads)),
    }


def _ranked(network: torch.nn.Module, bench: Benchmark) -> float:
    """AUPRC of the raw map over the test patients."""
    ranking = VoxelRankingMetric()
    for scan in bench.tests["lgg"]:
        ranking(_maps(network, scan.image)[scan.inside], scan.lesion[scan.inside])
    return ranking.aggregate()["auprc"]


def _sigmoid(maps: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-maps))


def _joined(make: Make, bench: Benchmark) -> Make:
    """Sigmoid of the smoothed map times the smoothed intensity."""
    return lambda scan: _sigmoid(smoothed(make(scan), scan.inside)) * smoothed(bench.intensity(scan), scan.inside)


def _network_figures(network: _Mixed, bench: Benchmark, released_scaling: bool) -> dict[str, Any]:
    """The map alone, as the authors' release finishes it, and joined with the intensity."""
    known = made_once(lambda scan: _maps(network, scan.image), bench)
    figures = {"map": judged(known, bench), "map x intensity": judged(_joined(known, bench), bench)}
    network.row_scaling = released_scaling
    if released_scaling:
        known = made_once(lambda scan: _maps(network, scan.image), bench)
    return {**figures, "map as released": judged(known, bench, _erosion(6, bench.size))}


def train(row: str, seed: int, steps: int, bench: Benchmark, points: list[int], weights: Path) -> dict[str, Any]:
    """Train a row, with its curve."""
    torch.manual_seed(seed)
    network, loss, rate = _parts(row, bench.size)
    network.standardize.fit(bench.landmarks)
    optimizer, warm_up = torch.optim.Adam(network.parameters(), rate), ROWS[row][2] * steps
    curve, fast, start, spent = [], has_fast_bfloat16(), time.perf_counter(), 0.0
    scaling, network.row_scaling = network.row_scaling, False
    for step, batch in enumerate(bench.batches(seed, steps)):
        loss.epoch = math.inf if step >= warm_up else 0
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            made = network.train()(batch["image"])
        made = {name: value.float() for name, value in made.items()}
        value = loss(made, batch["brain_mask"])
        value.backward()
        optimizer.step()
        if step + 1 in points:
            spent += time.perf_counter() - start
            point = {"step": step + 1, "loss": float(value.detach()), **_homogeneity(network.eval(), bench)}
            curve.append({**point, "auprc": _ranked(network, bench)})
            print(f"  {row}, seed {seed}: {json.dumps(curve[-1])}", flush=True)
            start = time.perf_counter()
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), weights)
    return {
        "curve": curve,
        "seconds": spent,
        **_homogeneity(network.eval(), bench),
        **({"residual": _residual(network, bench)} if ROWS[row][1] == 0 else {}),
        "figures": _network_figures(network, bench, scaling),
    }


def _residual(network: _Mixed, bench: Benchmark) -> dict[str, Any]:
    """Without the constraint the network is a VAE: figures of its reconstruction's error."""

    def make(scan: Scan) -> np.ndarray:
        errors = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            for part in scan.image.split(16):
                made = network.forward_train(part)
                errors.append((made["image"] - made["reconstruction"].float().sigmoid()).abs())
        return torch.cat(errors)[:, 0].numpy()

    return judged(make, bench)


def untrained(seed: int, bench: Benchmark) -> dict[str, Any]:
    """The presets' network before any step."""
    torch.manual_seed(seed)
    network, _, _ = _parts("AMCons 0.1 (the paper's)", bench.size)
    network.standardize.fit(bench.landmarks)
    return {**_homogeneity(network.eval(), bench), "figures": _network_figures(network, bench, False)}


def run(args: argparse.Namespace) -> None:
    """Make the rows that are not there yet."""
    bench = Benchmark(args.lists, args.sequence, args.output, size=args.size)
    results = Results(args.output, args.sequence, args.size)
    print(f"{len(bench.train)} training slices", flush=True)
    results.add_baselines(bench)
    for seed in args.seeds:
        if not results.has(UNTRAINED, seed, 0):
            results.add(UNTRAINED, seed, 0, **untrained(seed, bench))
        for row in ROWS:
            wanted = any(fnmatch.fnmatch(row, pattern) for pattern in args.rows)
            if wanted and not results.has(row, seed, args.steps):
                points = args.points or [max(1, round(args.steps * part)) for part in (0.1, 0.4)]
                name = f"{args.sequence}_{list(ROWS).index(row)}_{args.size}_{seed}_{args.steps}.pt"
                weights = args.output / "weights" / name
                results.add(row, seed, args.steps, **train(row, seed, args.steps, bench, points, weights))


def gradients(args: argparse.Namespace) -> None:
    """How much of the gradient on stem and first stage is the constraint's, before the first step."""
    bench = Benchmark(args.lists, args.sequence, args.output, size=args.size)
    print("| row | gradient of weight x constraint over the ELBO's |\n|---|---|")
    for row in ROWS:
        torch.manual_seed(0)
        network, loss, _ = _parts(row, bench.size)
        network.standardize.fit(bench.landmarks)
        batch = next(iter(bench.batches(0, 1)))
        made = network.train()(batch["image"])
        early = [*network.stem.parameters(), *network.stages[0].parameters()]

        def norm(value: torch.Tensor, early: list[Any] = early) -> float:
            found = torch.autograd.grad(value, early, retain_graph=True)
            return float(torch.stack([part.norm() for part in found]).norm())

        constraint = norm(loss.constraint(made["attention"], batch["brain_mask"])) * loss.weight
        print(f"| {row} | {constraint / norm(loss.elbo(made)):.1e} |", flush=True)


Runs = dict[tuple[str, int], list[dict[str, Any]]]
"""Runs of each row and number of steps, one for each seed."""


def _runs(args: argparse.Namespace, sequence: str) -> Runs:
    found: Runs = {}
    for result in Results(args.output, size=args.size).rows():
        if result["sequence"] == sequence:
            found.setdefault((result["row"], result["steps"]), []).append(result)
    return found


def _with_residuals(runs: Runs) -> Runs:
    """Behind a row without the constraint, the figures of its reconstruction's error."""
    found: Runs = {}
    for (row, steps), results in runs.items():
        found[row, steps] = results
        errors = [{"figures": {"map": r["residual"]}} for r in results if "residual" in r]
        if errors:
            found[f"{row}: VAE residual", steps] = errors
    return found


def _of(result: dict[str, Any], *path: str) -> Any:
    for key in path:
        result = result.get(key) or {}
    return result or None


_COLUMNS = {
    "AUPRC": ("map", "lgg", "all", "auprc"),
    "x intensity": ("map x intensity", "lgg", "all", "auprc"),
    "as released": ("map as released", "lgg", "all", "auprc"),
    "Dice": ("map", "lgg", "all", "dice"),
    "oracle Dice": ("map", "lgg", "all", "oracle_dice"),
    "ten slices: AUPRC": ("map", "lgg", "ten", "auprc"),
    "oracle Dice, ten": ("map", "lgg", "ten", "oracle_dice"),
    "slice AUROC by spread": ("map", "lgg", "slice_auroc_std"),
    "MSLUB AUPRC": ("map", "mslub", "all", "auprc"),
}


def _print_figures(runs: Runs) -> None:
    judged_on = {test for results in runs.values() for test in results[0]["figures"]["map"]}
    columns = {name: path for name, path in _COLUMNS.items() if path[1] in judged_on}
    heads = ["row", "steps", "seeds", *columns, "AUPRC of a patient (95%)"]
    print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
    for (row, steps), results in _with_residuals(runs).items():
        cells = [mean_text([_of(r, "figures", *path) for r in results]) for path in columns.values()]
        cells.append(interval_text(_of(results[0], "figures", "map", "lgg", "patient_auprc")))
        print(f"| {row} | {steps or '-'} | {len(results)} | {' | '.join(cells)} |")


def _over_training(runs: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Every known step of a row, and what each seed's run was there."""
    last = [{**r, "step": r["steps"], "auprc": r["figures"]["map"]["lgg"]["all"]["auprc"]} for r in runs]
    points = [point for r in runs for point in r.get("curve", [])] + last
    return {step: [p for p in points if p["step"] == step] for step in sorted({p["step"] for p in points})}


def _print_normals(runs: Runs) -> None:
    print("| row | seeds | step | entropy | mean attention | spread | AUPRC, test patients |" + "\n" + "|---" * 7 + "|")
    for (row, _), results in runs.items():
        for step, here in _over_training(results).items() if "entropy" in results[0] else ():
            cells = [mean_text([p["entropy"] for p in here], 5)]
            cells += [mean_text([p[name] for p in here]) for name in ("mean_attention", "map_std", "auprc")]
            print(f"| {row} | {len(here)} | {step} | {' | '.join(cells)} |")


def table(args: argparse.Namespace) -> None:
    """Print the finished rows: a table of the test patients, one of held-out normals over training."""
    for sequence in ("flair", "t1"):
        runs = _runs(args, sequence)
        if runs:
            print(f"\n## {sequence}: test patients; intervals are of the first seed\n")
            _print_figures(runs)
            print(f"\n## {sequence}: held-out normals over training\n")
            _print_normals(runs)


def draw(args: argparse.Namespace) -> None:
    """Draw the curves of the rows that were followed through their training, means over their seeds."""
    runs = _runs(args, args.sequence)
    start = runs.pop((UNTRAINED, 0), None)
    followed = {row: results for (row, _), results in runs.items() if results[0].get("curve")}
    if start is None or not followed:
        raise SystemExit(f"{args.output}: there is no row with a curve of this sequence yet; run it first.")
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(_CURVES))
    first = _over_training(start)
    for panel, (name, title) in zip(panels, _CURVES.items()):
        for row, results in followed.items():
            points = {**first, **_over_training(results)}
            means = [float(np.mean([p[name] for p in here])) for here in points.values()]
            panel.plot(list(points), means, marker=".", label=f"{row}, {len(results)} seed{'s'[: len(results) > 1]}")
        panel.axhline(float(np.mean([p[name] for p in first[0]])), color="0.5", linestyle=":", label=UNTRAINED)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.ticklabel_format(axis="y", useOffset=False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    save_figure(figure, args.picture, dpi=100)


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, do in (("run", run), ("gradients", gradients), ("table", table), ("draw", draw)):
        command = commands.add_parser(name, help=do.__doc__)
        command.add_argument("--output", type=Path, required=True, help="folder of results.jsonl")
        command.add_argument("--size", type=int, default=SIZE, help="side of the slices in pixels")
        command.set_defaults(do=do)
        if do is not table:
            command.add_argument("--sequence", choices=("flair", "t1"), required=True)
        if do in (run, gradients):
            command.add_argument("--lists", type=Path, required=True, help="folder that lists.py wrote")
        if do is draw:
            command.add_argument("--picture", type=Path, required=True, help="PNG to write")
        if do is run:
            command.add_argument("--steps", type=int, default=200)
            command.add_argument("--seeds", type=int, nargs="+", default=[0])
            command.add_argument("--rows", nargs="+", default=["*"], help="patterns of the rows' names")
            command.add_argument("--points", type=int, nargs="+", help="steps at which it is looked at (default: two)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.do(args)


if __name__ == "__main__":
    main()
