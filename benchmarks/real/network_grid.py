# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scans, figures and tables on the network's grid, slice by slice; shared by ``ablation.py`` and ``methods.py``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from scipy.ndimage import gaussian_filter

from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.data.slices import SliceDataset, image_middle
from monai_cuas.inferers import HistogramEqualizationInferer, StandardizedIntensityInferer
from monai_cuas.losses import eroded
from monai_cuas.metrics import VoxelRankingMetric, detection_auroc, mean_interval, spread, top_fraction_mean
from monai_cuas.networks.nets import StandardizedIntensity
from monai_cuas.transforms import AnomalyPreprocessing

CONFIGS = Path(__file__).parents[2] / "bundles" / "cuas" / "configs"
SIZE, RATE, CUT_OFF, _TEN = 96, 0.01, -1e30, 10
BASELINES = (
    "intensity",
    "intensity, smoothed",
    "intensity, 5x5 median",
    "intensity, two-sided",
    "histogram equalisation",
)


@dataclass(frozen=True, eq=False)
class Scan:
    """
    A scan on the network's grid.

    Attributes:
        image: (Z, 1, S, S) foreground-quantile coordinates.
        brain: the same shape, boolean.
        label: the lesion in the brain, likewise.
        ten: the ten slices around the image's middle.
        volume: the image as an inferer takes it, (1, 1, S, S, Z), which knows its voxel size.
    """

    image: torch.Tensor
    brain: torch.Tensor
    label: torch.Tensor
    ten: slice
    volume: torch.Tensor

    @property
    def inside(self) -> np.ndarray:
        """The brain, (Z, S, S)."""
        return self.brain[:, 0].numpy()

    @property
    def lesion(self) -> np.ndarray:
        """The lesion, (Z, S, S)."""
        return self.label[:, 0].numpy()


Make = Callable[[Scan], np.ndarray]
"""The map of a scan, (Z, S, S)."""


class Scans:
    """Scans of a list, read once."""

    def __init__(self, entries: list[dict[str, Any]], preprocessing: AnomalyPreprocessing) -> None:
        self.scans = [self._scan(entry, preprocessing) for entry in entries]

    @staticmethod
    def _scan(entry: dict[str, Any], preprocessing: AnomalyPreprocessing) -> Scan:
        item = preprocessing({**preprocessing.inputs(entry), "label": entry["label"]})
        image, brain, label = (
            torch.as_tensor(np.moveaxis(np.asarray(item[key]), -1, 0)) for key in ("image", "slice_mask", "label")
        )
        first = image_middle(item["image"], item["brain_mask"]) - _TEN // 2
        ten = slice(max(0, first), max(0, first + _TEN))
        return Scan(image.float(), brain > 0, (label > 0) & (brain > 0), ten, item["image"][None].float())

    def __iter__(self) -> Iterator[Scan]:
        return iter(self.scans)


def smoothed(maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """One pixel in plane and half a slice across, nothing of the background mixed in."""
    sigma = (0.5, 1.0, 1.0)
    weight = gaussian_filter(brain.astype(np.float32), sigma)
    return gaussian_filter(np.where(brain, maps, 0.0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)


class Judge:
    """Figures of one map over scans: pooled and by patient, of all slices and of ten around the image's middle."""

    def __init__(self, threshold: float = math.nan) -> None:
        self.threshold = threshold
        self.pooled = {"all": VoxelRankingMetric(), "ten": VoxelRankingMetric()}
        self.counts: dict[str, list[tuple[int, int, int]]] = {"all": [], "ten": []}
        self.patients: list[float] = []
        self.slices: list[tuple[float, float, bool]] = []

    def add(self, maps: np.ndarray, inside: np.ndarray, label: np.ndarray, ten: slice) -> None:
        """Take a scan; all are (Z, S, S)."""
        for part, chosen in (("all", slice(None)), ("ten", ten)):
            scores, truth = maps[chosen][inside[chosen]], label[chosen][inside[chosen]]
            self.pooled[part](scores, truth)
            found = scores > self.threshold
            self.counts[part].append((int((found & truth).sum()), int(found.sum()), int(label[chosen].sum())))
        own = VoxelRankingMetric()
        own(maps[inside], label[inside])
        self.patients.append(own.aggregate()["auprc"])
        for one, where, lesion in zip(maps, inside, label):
            where = where & (one > CUT_OFF)
            if where.sum() > 50:
                self.slices.append((spread(one[where]), top_fraction_mean(one[where], 0.01), bool(lesion.any())))

    def figures(self) -> dict[str, Any]:
        """All figures."""
        found: dict[str, Any] = {}
        for part, ranking in self.pooled.items():
            figures, (hit, called, true) = ranking.aggregate(), np.array(self.counts[part]).sum(axis=0)
            found[part] = {name: figures[name] for name in ("auprc", "auroc", "oracle_dice")}
            found[part]["dice"] = 2 * hit / max(1, called + true)
        dice = [2 * hit / max(1, called + true) for hit, called, true in self.counts["all"] if true]
        found["patients"] = {"auprc": self.patients, "dice": dice}
        found["patient_auprc"], found["patient_dice"] = interval(self.patients), interval(dice)
        lesion = [s[2] for s in self.slices]
        found["slice_auroc_std"] = detection_auroc([s[0] for s in self.slices], lesion)
        found["slice_auroc_top"] = detection_auroc([s[1] for s in self.slices], lesion)
        return found


def interval(values: list[float]) -> list[float]:
    """Mean over patients and its bootstrapped 95% interval, of 2000 draws."""
    return list(mean_interval(values, 2000))


class Benchmark:
    """
    The data of a sequence, prepared once.

    Args:
        lists: folder that ``lists.py`` wrote.
        sequence: "flair" or "t1".
        output: folder for the cache of slices.
        others: judge on MSLUB as well, where there is such a sequence.
        size: side of the slices in pixels.
    """

    def __init__(self, lists: Path, sequence: str, output: Path, others: bool = True, size: int = SIZE) -> None:
        self.size, self.preprocessing = size, AnomalyPreprocessing(image_size=size).for_slices()
        folder = lists / f"lgg_{sequence}"

        def entries(name: str, where: Path = folder) -> list[dict[str, Any]]:
            return load_datalist(where / "dataset.json", name, True)

        self.train = SliceDataset(entries("training"), self.preprocessing, output / "cache", progress=False)
        self.landmarks = collect_landmarks(entries("training"), self.preprocessing, progress=False)
        self.held_out, self.calibration = (Scans(entries(k), self.preprocessing) for k in ("validation", "calibration"))
        self.tests = {"lgg": Scans(entries("test_lesion"), self.preprocessing)}
        if others and sequence == "flair":
            self.tests["mslub"] = Scans(entries("test_lesion", lists / "cross_flair"), self.preprocessing)
        reference = StandardizedIntensity(1)
        reference.standardize.fit(self.landmarks)
        self.reference = reference.eval()

    def intensity(self, scan: Scan) -> np.ndarray:
        """Standardised intensity of slices, (Z, S, S)."""
        with torch.no_grad():
            return self.reference.standardize(scan.image)[:, 0].numpy()

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

    def judged_scans(self) -> list[Scan]:
        """All scans of which a map is needed."""
        return [scan for scans in (self.calibration, *self.tests.values()) for scan in scans]


def made_once(make: Make, bench: Benchmark) -> Make:
    """A map that is not computed again for the threshold, then for the figures."""
    known = {id(scan): make(scan) for scan in bench.judged_scans()}
    return lambda scan: known[id(scan)]


def _threshold(make: Make, bench: Benchmark) -> float:
    """What 1% of the voxels of lesion-free slices of the calibration scans exceed."""
    values = []
    for scan in bench.calibration:
        normal = ~scan.lesion.any(axis=(1, 2))
        values.append(make(scan)[normal][scan.inside[normal]])
    return float(np.quantile(np.concatenate(values), 1 - RATE))


def judged(make: Make, bench: Benchmark, erosion: int = 0) -> dict[str, Any]:
    """
    Figures on each test set.

    Args:
        make: the map.
        bench: the data.
        erosion: side of the square by which the brain is eroded before anything is found; the lesion outside is lost.
    """
    threshold, found = _threshold(make, bench), {}
    for name, scans in bench.tests.items():
        judge = Judge(threshold)
        for scan in scans:
            maps = make(scan)
            if erosion:
                maps = np.where(eroded(scan.brain.float(), erosion)[:, 0].numpy(), maps, CUT_OFF)
            judge.add(maps, scan.inside, scan.lesion, scan.ten)
        found[name] = judge.figures()
    return found


def inferred(inferer: Any, network: torch.nn.Module) -> Make:
    """The map of an inferer of volumes."""

    def make(scan: Scan) -> np.ndarray:
        with torch.no_grad():
            found = np.asarray(inferer(scan.volume, network)[0, 0])
        return np.moveaxis(found, -1, 0)

    return make


def baselines(bench: Benchmark) -> dict[str, dict[str, Any]]:
    """What needs no network."""
    makes: tuple[Make, ...] = (
        inferred(StandardizedIntensityInferer(), bench.reference),
        lambda scan: smoothed(bench.intensity(scan), scan.inside),
        inferred(StandardizedIntensityInferer(median=5), bench.reference),
        inferred(StandardizedIntensityInferer(two_sided=True), bench.reference),
        inferred(HistogramEqualizationInferer(), bench.reference),
    )
    return {name: judged(make, bench) for name, make in zip(BASELINES, makes)}


def _plain(value: Any) -> Any:
    """Rounded, and JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


class Results:
    """
    Finished rows, one a line of ``results.jsonl``; a row that is there is not made again.

    Args:
        output: folder of the file.
        sequence: of the rows that are asked for and added.
        size: side of the slices in pixels; rows of other sizes are passed over.
    """

    def __init__(self, output: Path, sequence: str = "", size: int = SIZE) -> None:
        self.path, self.sequence, self.size = output / "results.jsonl", sequence, size

    def rows(self) -> list[dict[str, Any]]:
        """All of them, of every sequence."""
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        return [row for row in map(json.loads, lines) if row["size"] == self.size]

    def has(self, row: str, seed: int, steps: int) -> bool:
        """Whether a row is there."""
        key = (self.sequence, row, seed, steps)
        return key in {(r["sequence"], r["row"], r["seed"], r["steps"]) for r in self.rows()}

    def add(self, row: str, seed: int, steps: int, **what: Any) -> None:
        """Append a row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        result = {"sequence": self.sequence, "size": self.size, "row": row, "seed": seed, "steps": steps, **what}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(result)) + "\n")

    def add_baselines(self, bench: Benchmark) -> None:
        """Append what needs no network, if it is not there."""
        if not self.has(BASELINES[0], 0, 0):
            for name, figures in baselines(bench).items():
                self.add(name, 0, 0, figures={"map": figures})


def mean_text(values: list[float | None], digits: int = 3) -> str:
    """Mean and, over seeds, standard deviation."""
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return "-"
    return f"{known.mean():.{digits}f}" + (f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else "")


def interval_text(values: Any) -> str:
    """Mean and interval, as far as they are known."""
    if not values or values[1] is None:
        return "-" if not values else f"{values[0]:.3f}"
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"
