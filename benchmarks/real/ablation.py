# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Does the paper's constraint do anything? Presets of ``configs/paper`` with other weights of it, on real scans:

    python benchmarks/real/ablation.py run --lists LISTS --sequence flair --steps 300 --output OUT --rows 'amcons *'
    python benchmarks/real/ablation.py table --output OUT

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from scipy.ndimage import gaussian_filter
from scipy.stats import bootstrap

from monai_cuas.bundle import with_bases
from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.data.slices import SliceDataset, image_middle
from monai_cuas.inferers import HistogramEqualizationInferer, StandardizedIntensityInferer
from monai_cuas.losses import attention_entropy, eroded
from monai_cuas.metrics import VoxelRankingMetric, detection_auroc, spread, top_fraction_mean
from monai_cuas.networks.nets import AttentionVAE, StandardizedIntensity
from monai_cuas.networks.utils import has_fast_bfloat16
from monai_cuas.transforms import AnomalyPreprocessing

CONFIGS = Path(__file__).parents[2] / "bundles" / "cuas" / "configs"
SIZE, PAPER_SIZE, RATE, WARM_UP, _TEN = 96, 224, 0.01, 1 / 6, 10
_CUT_OFF = -1e30
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


class _Mixed(AttentionVAE):
    """The stem and the first stage stay in float32, so that a small gradient of the constraint is not rounded away."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().features(x.float())


def _parts(row: str) -> tuple[_Mixed, Any, float]:
    """Network, loss and learning rate of a row, as the preset has them, at this size."""
    preset, weight, _, reduction = ROWS[row]
    config = ConfigParser()
    config.read_config([str(CONFIGS / "train.json"), *with_bases(str(CONFIGS / preset))])
    config.update({"image_size": SIZE, "constraint_weight": weight, "elbo#reduction": reduction, "device": "cpu"})
    config["channels"] = [64, 128, 256, 512]
    config["network_def"]["_target_"] = _Mixed
    if "erosion" in config["constraint"]:
        config["constraint"]["erosion"] = _erosion(config["constraint"]["erosion"])
    parsed = [config.get_parsed_content(name) for name in ("network_def", "loss", "learning_rate")]
    return parsed[0], parsed[1], float(parsed[2])


def _erosion(side: int) -> int:
    """A side in pixels of the paper's slices in pixels of these."""
    return round(side * SIZE / PAPER_SIZE)


class _Scans:
    """Scans on the network's grid: slices first, (Z, 1, S, S), with the brain and the lesion."""

    def __init__(self, entries: list[dict[str, Any]], preprocessing: AnomalyPreprocessing) -> None:
        self.scans = []
        for entry in entries:
            item = preprocessing({**preprocessing.inputs(entry), "label": entry["label"]})
            image, brain, label = (
                torch.as_tensor(np.moveaxis(np.asarray(item[key]), -1, 0)) for key in ("image", "slice_mask", "label")
            )
            first = image_middle(item["image"], item["brain_mask"]) - _TEN // 2
            ten = slice(max(0, first), max(0, first + _TEN))
            self.scans.append((image.float(), brain > 0, (label > 0) & (brain > 0), ten))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, slice]]:
        return iter(self.scans)


def _smoothed(maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """One pixel in plane and half a slice across, nothing of the background mixed in."""
    sigma = (0.5, 1.0, 1.0)
    weight = gaussian_filter(brain.astype(np.float32), sigma)
    return gaussian_filter(np.where(brain, maps, 0.0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)


class _Judge:
    """Figures of one map over scans: pooled and by patient, of all slices and of ten around the image's middle."""

    def __init__(self, threshold: float = math.nan) -> None:
        self.threshold = threshold
        self.pooled = {"all": VoxelRankingMetric(), "ten": VoxelRankingMetric()}
        self.counts: dict[str, list[tuple[int, int, int]]] = {"all": [], "ten": []}
        self.patients: list[float] = []
        self.slices: list[tuple[float, float, bool]] = []

    def add(self, maps: np.ndarray, inside: np.ndarray, label: np.ndarray, ten: slice) -> None:
        for part, chosen in (("all", slice(None)), ("ten", ten)):
            scores, truth = maps[chosen][inside[chosen]], label[chosen][inside[chosen]]
            self.pooled[part](scores, truth)
            found = scores > self.threshold
            self.counts[part].append((int((found & truth).sum()), int(found.sum()), int(label[chosen].sum())))
        own = VoxelRankingMetric()
        own(maps[inside], label[inside])
        self.patients.append(own.aggregate()["auprc"])
        for one, where, lesion in zip(maps, inside, label):
            where = where & (one > _CUT_OFF)
            if where.sum() > 50:
                self.slices.append((spread(one[where]), top_fraction_mean(one[where], 0.01), bool(lesion.any())))

    def figures(self) -> dict[str, Any]:
        """All figures, rounded."""
        found: dict[str, Any] = {}
        for part, ranking in self.pooled.items():
            figures, (hit, called, true) = ranking.aggregate(), np.array(self.counts[part]).sum(axis=0)
            found[part] = {name: figures[name] for name in ("auprc", "auroc", "oracle_dice")}
            found[part]["dice"] = 2 * hit / max(1, called + true)
        dice = [2 * hit / max(1, called + true) for hit, called, true in self.counts["all"] if true]
        found["patient_auprc"], found["patient_dice"] = _interval(self.patients), _interval(dice)
        lesion = [s[2] for s in self.slices]
        found["slice_auroc_std"] = detection_auroc([s[0] for s in self.slices], lesion)
        found["slice_auroc_top"] = detection_auroc([s[1] for s in self.slices], lesion)
        return found


def _interval(values: list[float]) -> list[float]:
    """Mean over patients and its bootstrapped 95% interval."""
    known = np.array([v for v in values if math.isfinite(v)])
    if len(known) < 3:
        return [float(known.mean()) if len(known) else math.nan, math.nan, math.nan]
    low, high = bootstrap((known,), np.mean, random_state=0, n_resamples=2000).confidence_interval
    return [float(known.mean()), float(low), float(high)]


class _Benchmark:
    """The data of a sequence, prepared once."""

    def __init__(self, lists: Path, sequence: str, output: Path) -> None:
        self.preprocessing = AnomalyPreprocessing(image_size=SIZE).for_slices()
        folder = lists / f"lgg_{sequence}"

        def entries(name: str, where: Path = folder) -> list[dict[str, Any]]:
            return load_datalist(where / "dataset.json", name, True)

        self.train = SliceDataset(entries("training"), self.preprocessing, output / "cache", progress=False)
        self.landmarks = collect_landmarks(entries("training"), self.preprocessing, progress=False)
        self.held_out, self.calibration = (
            _Scans(entries(k), self.preprocessing) for k in ("validation", "calibration")
        )
        self.tests = {"lgg": _Scans(entries("test_lesion"), self.preprocessing)}
        if sequence == "flair":
            self.tests["mslub"] = _Scans(entries("test_lesion", lists / "cross_flair"), self.preprocessing)
        reference = StandardizedIntensity(1)
        reference.standardize.fit(self.landmarks)
        self.reference = reference.eval()

    def intensity(self, image: torch.Tensor) -> np.ndarray:
        """Standardised intensity of slices, (Z, S, S)."""
        with torch.no_grad():
            return self.reference.standardize(image)[:, 0].numpy()

    def batches(self, seed: int, steps: int) -> Iterator[dict[str, torch.Tensor]]:
        """So many batches of 8 lesion-free slices."""
        generator, made = torch.Generator().manual_seed(seed), 0
        while made < steps:
            loader: Any = DataLoader(self.train, batch_size=8, shuffle=True, drop_last=True, generator=generator)
            for batch in loader:
                if made == steps:
                    return
                made += 1
                yield batch


def _maps(network: torch.nn.Module, image: torch.Tensor) -> np.ndarray:
    """Raw maps of slices, (Z, S, S)."""
    with torch.no_grad():
        return torch.cat([network(part) for part in image.split(16)])[:, 0].numpy()


def _homogeneity(network: torch.nn.Module, bench: _Benchmark) -> dict[str, float]:
    """Of held-out lesion-free slices: entropy over its maximum, mean of the sigmoid, spread of the map in the brain."""
    entropies, means, spreads = [], [], []
    for image, brain, label, _ in bench.held_out:
        chosen = (brain.flatten(1).sum(1) > 500) & ~label.flatten(1).any(1)
        maps = torch.as_tensor(_maps(network, image[chosen]))[:, None]
        own = eroded(brain[chosen].float(), _erosion(6))
        count = own.flatten(1).sum(1)
        known = count > 100
        entropies += (attention_entropy(maps, own.float())[known] / count[known].log()).tolist()
        means += maps.sigmoid().flatten(1).mean(1).tolist()
        spreads += [float(m[b].std()) for m, b in zip(maps, brain[chosen])]
    return {
        "entropy": float(np.mean(entropies)),
        "mean_attention": float(np.mean(means)),
        "map_std": float(np.mean(spreads)),
    }


def _ranked(network: torch.nn.Module, bench: _Benchmark) -> float:
    """AUPRC of the raw map over the test patients."""
    ranking = VoxelRankingMetric()
    for image, brain, label, _ in bench.tests["lgg"]:
        inside = brain[:, 0].numpy()
        ranking(_maps(network, image)[inside], label[:, 0].numpy()[inside])
    return ranking.aggregate()["auprc"]


def _sigmoid(maps: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-maps))


def _joined(maps: np.ndarray, image: torch.Tensor, brain: np.ndarray, bench: _Benchmark) -> np.ndarray:
    """Sigmoid of the smoothed map times the smoothed intensity."""
    return _sigmoid(_smoothed(maps, brain)) * _smoothed(bench.intensity(image), brain)


def _threshold(make: Any, bench: _Benchmark) -> float:
    """What 1% of the voxels of lesion-free slices of the calibration scans exceed."""
    values = []
    for image, brain, label, _ in bench.calibration:
        inside, normal = brain[:, 0].numpy(), ~label[:, 0].flatten(1).any(1).numpy()
        values.append(make(image, inside)[normal][inside[normal]])
    return float(np.quantile(np.concatenate(values), 1 - RATE))


def _judged(make: Any, bench: _Benchmark, erosion: int = 0) -> dict[str, Any]:
    """
    Figures on each test set.

    Args:
        make: map (Z, S, S) from slices and the brain.
        erosion: side of the square by which the brain is eroded before anything is found; the lesion outside is lost.
    """
    threshold, found = _threshold(make, bench), {}
    for name, scans in bench.tests.items():
        judge = _Judge(threshold)
        for image, brain, label, ten in scans:
            maps = make(image, brain[:, 0].numpy())
            if erosion:
                maps = np.where(eroded(brain.float(), erosion)[:, 0].numpy(), maps, _CUT_OFF)
            judge.add(maps, brain[:, 0].numpy(), label[:, 0].numpy(), ten)
        found[name] = judge.figures()
    return found


def _network_figures(network: _Mixed, bench: _Benchmark, released_scaling: bool) -> dict[str, Any]:
    """The map alone, as the authors' release finishes it, and joined with the intensity."""
    every = [scan[0] for scans in (bench.calibration, *bench.tests.values()) for scan in scans]
    known = {id(image): _maps(network, image) for image in every}
    figures = {
        "map": _judged(lambda i, b: known[id(i)], bench),
        "map x intensity": _judged(lambda i, b: _joined(known[id(i)], i, b, bench), bench),
    }
    network.row_scaling = released_scaling
    if released_scaling:
        known = {id(image): _maps(network, image) for image in every}
    return {**figures, "map as released": _judged(lambda i, b: known[id(i)], bench, _erosion(6))}


def train(row: str, seed: int, steps: int, bench: _Benchmark, points: list[int], weights: Path) -> dict[str, Any]:
    """Train a row, with its curve."""
    torch.manual_seed(seed)
    network, loss, rate = _parts(row)
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


def _residual(network: _Mixed, bench: _Benchmark) -> dict[str, Any]:
    """Without the constraint the network is a VAE: figures of its reconstruction's error."""

    def make(image: torch.Tensor, brain: np.ndarray) -> np.ndarray:
        errors = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            for part in image.split(16):
                made = network.forward_train(part)
                errors.append((made["image"] - made["reconstruction"].float().sigmoid()).abs())
        return torch.cat(errors)[:, 0].numpy()

    return _judged(make, bench)


def untrained(seed: int, bench: _Benchmark) -> dict[str, Any]:
    """The presets' network before any step."""
    torch.manual_seed(seed)
    network, _, _ = _parts("AMCons 0.1 (the paper's)")
    network.standardize.fit(bench.landmarks)
    return {**_homogeneity(network.eval(), bench), "figures": _network_figures(network, bench, False)}


def baselines(bench: _Benchmark) -> dict[str, dict[str, Any]]:
    """What needs no network."""

    def of(inferer: Any) -> Any:
        def make(image: torch.Tensor, brain: np.ndarray) -> np.ndarray:
            volume = image.permute(1, 2, 3, 0)[None]
            return np.moveaxis(inferer(volume, bench.reference)[0, 0].numpy(), -1, 0)

        return make

    return {
        "intensity": _judged(of(StandardizedIntensityInferer()), bench),
        "intensity, smoothed": _judged(lambda i, b: _smoothed(bench.intensity(i), b), bench),
        "intensity, 5x5 median": _judged(of(StandardizedIntensityInferer(median=5)), bench),
        "intensity, two-sided": _judged(of(StandardizedIntensityInferer(two_sided=True)), bench),
        "histogram equalisation": _judged(of(HistogramEqualizationInferer()), bench),
    }


def _plain(value: Any) -> Any:
    """Rounded, and JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _append(output: Path, result: dict[str, Any]) -> None:
    with open(output / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(_plain(result)) + "\n")


def _known(output: Path) -> list[dict[str, Any]]:
    path = output / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def run(args: argparse.Namespace) -> None:
    """Make the rows that are not there yet."""
    args.output.mkdir(parents=True, exist_ok=True)
    bench = _Benchmark(args.lists, args.sequence, args.output)
    print(f"{len(bench.train)} training slices", flush=True)

    def missing(row: str, seed: int, steps: int) -> bool:
        key = (args.sequence, row, seed, steps)
        return key not in {(r["sequence"], r["row"], r["seed"], r["steps"]) for r in _known(args.output)}

    if missing("intensity", 0, 0):
        for name, figures in baselines(bench).items():
            _append(
                args.output,
                {"sequence": args.sequence, "row": name, "seed": 0, "steps": 0, "figures": {"map": figures}},
            )
    for seed in args.seeds:
        if missing(UNTRAINED, seed, 0):
            what = {"sequence": args.sequence, "row": UNTRAINED, "seed": seed, "steps": 0}
            _append(args.output, {**what, **untrained(seed, bench)})
        for row in ROWS:
            if not any(fnmatch.fnmatch(row, pattern) for pattern in args.rows) or not missing(row, seed, args.steps):
                continue
            points = sorted({max(1, round(args.steps * part)) for part in (0.1, 0.4)})
            weights = args.output / "weights" / f"{args.sequence}_{list(ROWS).index(row)}_{seed}_{args.steps}.pt"
            what = {"sequence": args.sequence, "row": row, "seed": seed, "steps": args.steps}
            _append(args.output, {**what, **train(row, seed, args.steps, bench, points, weights)})


def gradients(args: argparse.Namespace) -> None:
    """How much of the gradient on stem and first stage is the constraint's, before the first step."""
    bench = _Benchmark(args.lists, args.sequence, args.output)
    print("| row | gradient of weight x constraint over the ELBO's |\n|---|---|")
    for row in ROWS:
        torch.manual_seed(0)
        network, loss, _ = _parts(row)
        network.standardize.fit(bench.landmarks)
        batch = next(iter(bench.batches(0, 1)))
        made = network.train()(batch["image"])
        early = [*network.stem.parameters(), *network.stages[0].parameters()]

        def norm(value: torch.Tensor, early: list[Any] = early) -> float:
            found = torch.autograd.grad(value, early, retain_graph=True)
            return float(torch.stack([part.norm() for part in found]).norm())

        constraint = norm(loss.constraint(made["attention"], batch["brain_mask"])) * loss.weight
        print(f"| {row} | {constraint / norm(loss.elbo(made)):.1e} |", flush=True)


def _mean(values: list[float | None], digits: int = 3) -> str:
    """Mean and, over seeds, standard deviation."""
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return "-"
    return f"{known.mean():.{digits}f}" + (f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else "")


def _of(result: dict[str, Any], *path: str) -> Any:
    for key in path:
        result = result.get(key) or {}
    return result or None


def _interval_text(values: Any) -> str:
    if not values or values[1] is None:
        return "-" if not values else f"{values[0]:.3f}"
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def _print_ranking(results: dict[tuple[str, int], list[dict[str, Any]]], test: str) -> None:
    print("| row | steps | seeds | AUPRC of the map | x intensity | as released | Dice | oracle Dice |", end="")
    print(" AUPRC of a patient (95%) | Dice of a patient (95%) |\n" + "|---" * 10 + "|")
    for (row, steps), runs in results.items():
        found = [_of(r, "figures", "map", test) for r in runs]
        kinds = ("map", "map x intensity", "map as released")
        cells = [_mean([_of(r, "figures", kind, test, "all", "auprc") for r in runs]) for kind in kinds]
        cells += [_mean([f["all"][name] for f in found]) for name in ("dice", "oracle_dice")]
        cells += [_interval_text(found[0][name]) for name in ("patient_auprc", "patient_dice")]
        print(f"| {row} | {steps or '-'} | {len(runs)} | {' | '.join(cells)} |")


def _print_slices(results: dict[tuple[str, int], list[dict[str, Any]]], test: str) -> None:
    print("| row | steps | seeds | ten slices: AUPRC | Dice | oracle Dice | as released: AUPRC | oracle Dice |", end="")
    print(" slice AUROC by spread | by highest |\n" + "|---" * 10 + "|")
    for (row, steps), runs in results.items():
        found = [_of(r, "figures", "map", test) for r in runs]
        released = [_of(r, "figures", "map as released", test, "ten") or {} for r in runs]
        cells = [_mean([f["ten"][name] for f in found]) for name in ("auprc", "dice", "oracle_dice")]
        cells += [_mean([f.get(name) for f in released]) for name in ("auprc", "oracle_dice")]
        cells += [_mean([f[name] for f in found]) for name in ("slice_auroc_std", "slice_auroc_top")]
        print(f"| {row} | {steps or '-'} | {len(runs)} | {' | '.join(cells)} |")


def _print_curves(results: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    print("| row | step | entropy of normals | mean attention | spread of the map | AUPRC |\n|---|---|---|---|---|---|")
    for (row, steps), runs in results.items():
        if "entropy" not in runs[0]:
            continue
        points = [{**r, "step": steps, "auprc": r["figures"]["map"]["lgg"]["all"]["auprc"]} for r in runs]
        every = [point for r in runs for point in r.get("curve", [])] + points
        for step in sorted({p["step"] for p in every}):
            here = [p for p in every if p["step"] == step]
            cells = [_mean([p["entropy"] for p in here], 5)]
            cells += [_mean([p[name] for p in here]) for name in ("mean_attention", "map_std", "auprc")]
            print(f"| {row} | {step} | {' | '.join(cells)} |")


def table(args: argparse.Namespace) -> None:
    """Print all tables of the finished rows."""
    for sequence in ("flair", "t1"):
        results: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for result in _known(args.output):
            if result["sequence"] == sequence:
                results.setdefault((result["row"], result["steps"]), []).append(result)
                if "residual" in result:
                    residual = {**result, "figures": {"map": result["residual"]}}
                    residual.pop("entropy")
                    results.setdefault((f"{result['row']}: VAE residual", result["steps"]), []).append(residual)
        for test in ("lgg", "mslub") if sequence == "flair" else ("lgg",):
            print(f"\n## {sequence}, {test}: all slices; intervals are of the first seed\n")
            _print_ranking(results, test)
            print(f"\n## {sequence}, {test}: ten slices around the image's middle, and detection\n")
            _print_slices(results, test)
        print(f"\n## {sequence}: over training\n")
        _print_curves(results)


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, do in (("run", run), ("gradients", gradients), ("table", table)):
        command = commands.add_parser(name, help=do.__doc__)
        command.add_argument("--output", type=Path, required=True, help="folder of results.jsonl")
        command.set_defaults(do=do)
        if do is not table:
            command.add_argument("--lists", type=Path, required=True, help="folder that lists.py wrote")
            command.add_argument("--sequence", choices=("flair", "t1"), required=True)
        if do is run:
            command.add_argument("--steps", type=int, default=200)
            command.add_argument("--seeds", type=int, nargs="+", default=[0])
            command.add_argument("--rows", nargs="+", default=["*"], help="patterns of the rows' names")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.do(args)


if __name__ == "__main__":
    main()
