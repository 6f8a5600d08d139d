# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
How good the maps are, on scans with masks and on normal scans, next to baselines.

Every method goes through the same preprocessing, grid, inverse, brain mask (with the same erosion), smoothing and
kind of calibration; they differ in the map alone.
"""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from ..calibration.fit import calibrate
from ..calibration.scores import p_value, raw_values, require_rate
from ..calibration.scoring import score_scans
from ..calibration.truth import ScanTruth, read_truth
from ..data.subjects import subject_of
from ..inferers import CalibratedInferer, HistogramEqualizationInferer, StandardizedIntensityInferer, unwrap
from ..io.orientation import axial_axis, to_ras
from ..metrics import (
    SIZE_BINS,
    FreeResponse,
    VoxelRankingMetric,
    detection_auroc,
    match_lesions,
    size_bin,
    slice_scores,
    spread,
    top_fraction_mean,
)
from ..networks.layers import ScoreCalibration, ScoreScale
from ..utils import CUASError, replacing, write_json
from ..visualize.comparison import RECALL_GRID, draw_precision_recall, save_panel_rows, thin_curve
from ..visualize.overlay import display_slice, draw_panel
from ..visualize.report import keep_evaluated, remove_evaluated, write_evaluation_report
from ..visualize.scan import read_display_scan
from .figures import (
    intervals,
    lesion_columns,
    lesion_figures,
    normal_figures,
    paired_with_first,
    patient_figures,
)

__all__ = ["baselines", "evaluate", "require_complete"]

logger = logging.getLogger(__name__)

_COLUMNS = (
    "auroc",
    "auprc",
    "dice_pooled",
    "dice_mean",
    "dice_std",
    "scan_auroc",
    "slice_auroc",
    "fpr_normal_pooled",
    "fpr_normal_max",
)
_ALPHAS = (0.05, 0.1, 0.2)
_ALL = "all lesions"
_LESION_COLUMNS = ("n_lesions", "lesion_recall", *(f"lesion_recall {name}" for name in SIZE_BINS), "lesion_precision")
_LESION_COLUMNS += ("lesion_f1", "fp_per_scan", "fp_per_normal_scan", "lesion_dice", "pq", "sq", "rq")
_ORACLE = ("oracle_dice", "oracle_iou")


def baselines(strategy: type[CalibratedInferer] = CalibratedInferer) -> dict[str, CalibratedInferer]:
    """
    Return the baselines that always stand beside the model, each with a calibration of its own.

    Args:
        strategy: the kind of threshold, :class:`CalibratedInferer` or :class:`GuaranteedInferer`.
    """
    raw = {
        "raw intensity": StandardizedIntensityInferer(),
        "raw intensity (two-sided)": StandardizedIntensityInferer(two_sided=True),
        "histogram equalisation": HistogramEqualizationInferer(),
    }
    return {name: strategy(inferer, ScoreCalibration()) for name, inferer in raw.items()}


class _Method:
    """What is gathered of one method, scan by scan."""

    def __init__(self, score: float, scale: ScoreScale, detection_score: str = "top") -> None:
        self.threshold, self.scale, self.by_spread = score, scale, detection_score == "std"
        self.ranking: dict[str, VoxelRankingMetric] = {}
        self.scans: list[dict[str, Any]] = []
        self.slices: list[tuple[float, bool, str, int]] = []
        # 14 bits (3% of a score), as each patient has a histogram of his own
        self.patients: dict[int, VoxelRankingMetric] = {}
        self.free = FreeResponse()

    def add(
        self,
        name: str,
        groups: list[str],
        anomaly: np.ndarray,
        whole: np.ndarray,
        brain: np.ndarray,
        truth: ScanTruth,
        axis: int,
        patient: int = 0,
        voxel_ml: float = 0.001,
    ) -> None:
        """Count one scan; ``whole`` is its brain as inference sees it, ``brain`` what is left of it by erosion."""
        inside = truth.counted(brain)
        threshold = self.scale.scan_threshold(torch.as_tensor(anomaly[whole]), self.threshold)
        # a standard deviation is of the map as it is, not of the scale that was fitted to it
        ranked = raw_values(self.scale, anomaly) if self.by_spread else anomaly
        self.scans.append(
            {
                "name": name,
                "patient": patient,
                "groups": groups,
                "scan_score": spread(ranked[inside]) if self.by_spread else top_fraction_mean(anomaly[inside]),
                "scan_p_value": p_value(self.scale, anomaly[whole]),
                "threshold_raised_to": threshold if threshold > self.threshold else None,
                **self._voxel_figures(groups, anomaly, inside, truth.voxels, threshold, patient),
            }
        )
        if truth.voxels is not None:
            match = match_lesions(anomaly >= threshold, truth.voxels, brain, truth.ignored, voxel_ml)
            self.scans[-1] |= lesion_columns(match)
            self.free.add(anomaly, truth.voxels, brain, truth.ignored)
        sick = truth.sick_slices(inside, axis)
        if sick is not None:
            scores = slice_scores(ranked, inside, axis, score=spread if self.by_spread else None)
            self.slices += [(v, bool(sick[k]), name, patient) for k, v in scores.items()]

    def _voxel_figures(
        self,
        groups: list[str],
        anomaly: np.ndarray,
        inside: np.ndarray,
        label: np.ndarray | None,
        threshold: float,
        patient: int,
    ) -> dict[str, Any]:
        """Counts of one scan; what needs a mask is NaN without one, and takes no part in any pooled figure."""
        scores = anomaly[inside]
        found = scores >= threshold
        if label is None:
            return {"has_mask": False, "found": int(found.sum()), "dice": math.nan, "fpr": math.nan}
        truth = label[inside]
        overlap, n_true, healthy = int((found & truth).sum()), int(truth.sum()), int((~truth).sum())
        if "normal" not in groups:
            for group in groups:
                self.ranking.setdefault(group, VoxelRankingMetric())(scores, truth)
            self.patients.setdefault(patient, VoxelRankingMetric(bits=14))(scores, truth)
        return {
            "has_mask": True,
            "found": int(found.sum()),
            "overlap": overlap,
            "true": n_true,
            "dice": 2 * overlap / (int(found.sum()) + n_true) if n_true else math.nan,
            "fpr": float((found & ~truth).sum() / healthy) if healthy else math.nan,
            "healthy": healthy,
            "label_outside_brain_mask": int((label & ~inside).sum()),
        }

    def group(self, group: str) -> dict[str, float]:
        """Figures of the lesion scans of a group; detection is against all normal scans."""
        lesion = [s for s in self.scans if group in s["groups"]]
        normal = [s for s in self.scans if "normal" in s["groups"]]
        names = {s["name"] for s in lesion + normal}
        slices = [s for s in self.slices if s[2] in names]
        dice = np.array([s["dice"] for s in lesion if not math.isnan(s["dice"])])
        outlined = [s for s in lesion if s["has_mask"]]
        denominator = sum(s["found"] + s["true"] for s in outlined)
        return {
            "n_scans": len(lesion),
            "n_masks": len(outlined),
            **self.ranking.get(group, VoxelRankingMetric()).aggregate(),
            "dice_pooled": 2 * sum(s["overlap"] for s in outlined) / denominator if denominator else math.nan,
            "dice_mean": float(dice.mean()) if len(dice) else math.nan,
            "dice_std": float(dice.std()) if len(dice) else math.nan,
            "fpr_outside_label_mean": _mean([s["fpr"] for s in lesion]),
            "scan_auroc": detection_auroc(
                [s["scan_score"] for s in lesion + normal], [True] * len(lesion) + [False] * len(normal)
            ),
            "slice_auroc": detection_auroc([s[0] for s in slices], [s[1] for s in slices]),
            **lesion_figures(outlined),
        }

    def normals(self) -> dict[str, float]:
        normal = [s for s in self.scans if "normal" in s["groups"]]
        rates = [s["fpr"] for s in normal]
        return {
            "n_normal": len(rates),
            **normal_figures(normal),
            "fpr_normal_mean": _mean(rates),
            "fpr_normal_max": max(rates, default=math.nan),
        }

    def p_values(self) -> dict[str, Any]:
        """Share of scans whose p-value is at most alpha; of normal scans it should be at most alpha."""
        shares: dict[str, Any] = {"alpha": list(_ALPHAS), "n_calibration": self.scale.n_scans}
        for which, is_normal in (("normal", True), ("lesion", False)):
            p = np.array([s["scan_p_value"] for s in self.scans if ("normal" in s["groups"]) == is_normal])
            # a p-value is a fraction of n + 1: compared up to rounding
            shares[which] = [float((p <= a + 1e-12).mean()) if np.isfinite(p).any() else math.nan for a in _ALPHAS]
        return shares

    def curves(self) -> dict[str, Any]:
        """What a report draws: precision over recall, Dice over the healthy rate, lesions over false positives."""
        found: dict[str, Any] = {"froc": self.free.curve()}
        if _ALL in self.ranking:
            curve = self.ranking[_ALL].curve()
            precision = thin_curve(curve["tp"], curve["fp"])
            found["recall"], found["precision"] = (
                RECALL_GRID.tolist(),
                None if precision is None else precision.tolist(),
            )
            found["dice"] = _dice_curve(**curve)
        return found

    def report(self) -> dict[str, Any]:
        groups = list(dict.fromkeys(g for s in self.scans for g in s["groups"] if g != "normal"))
        return {
            "threshold_score": self.threshold,
            "threshold": self.scale.kind,
            "scan_p_values": self.p_values(),
            "groups": {g: {**self.group(g), **(self.normals() if g == "all lesions" else {})} for g in groups}
            or {"all lesions": self.normals()},
            "intervals": intervals(self.scans, [(s[0], s[1], s[3]) for s in self.slices], self.patients),
            "patients": patient_figures(self.scans, self.patients),
            "scans": [{**s, "diseased": "normal" not in s["groups"]} for s in self.scans],
        }


def _dice_curve(threshold: np.ndarray, tp: np.ndarray, fp: np.ndarray) -> dict[str, list[float]]:
    """Dice at thresholds of the scores that a page shows, by the healthy rate of each."""
    scores = np.linspace(0.3, 4.0, 112)
    # thresholds descend: the last one that is not below a score counts what lies above it
    place = np.searchsorted(-threshold, -scores, side="right") - 1
    hit, wrong = (np.where(place >= 0, values[place], 0) for values in (tp, fp))
    dice = 2 * hit / np.maximum(hit + wrong + (tp[-1] if len(tp) else 0), 1)
    return {"rate": (10.0**-scores).tolist(), "dice": dice.tolist()}


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def _groups(entry: Mapping[str, Any], truth: ScanTruth) -> list[str]:
    if not truth.diseased:
        return ["normal"]
    groups = ["all lesions"]
    if entry.get("kind"):
        groups.append(f"kind: {entry['kind']}")
    if entry.get("size_mm") is not None:
        groups.append(f"size: {size_bin(float(entry['size_mm']))}")
    return groups


def _panel_row(item: Mapping[str, Any], title: str, brain: np.ndarray, maps: Mapping) -> dict[str, Any] | None:
    """
    Keep one slice of a lesion scan for the picture: that with most lesion or, where only the slices are labelled, of
    those with a lesion the one with most brain. None if neither is known.
    """
    truth, affine = item["truth"], np.asarray(item["brain_mask"].affine)
    outlined = truth.voxels is not None
    label = truth.voxels if outlined else np.zeros(brain.shape, dtype=bool)
    wanted = label
    if not outlined and truth.slices is not None:
        wanted = brain & np.reshape(truth.slices, np.where(np.arange(3) == item["axis"], -1, 1))
    if not wanted.any():
        return None
    wanted, spacing = to_ras(wanted, affine)
    index = int(wanted.sum(axis=(0, 1)).argmax())
    scan = read_display_scan(item, brain.astype(np.float32))

    def cut(volume: np.ndarray) -> np.ndarray:
        return display_slice(to_ras(np.asarray(volume), affine)[0], index)

    return {
        "title": title if outlined else f"{title}\n(lesion not outlined)",
        "scan": cut(scan),
        "label": cut(label),
        "brain": cut(brain),
        "maps": {name: cut(values) for name, values in maps.items()},
        "aspect": spacing[1] / spacing[0],
    }


def _ensure_calibrated(
    methods: Mapping[str, CalibratedInferer], network: Any, normals: Sequence[dict], rate: float, **how: Any
) -> None:
    for name, method in methods.items():
        if not method.calibration_of(network).is_calibrated:
            if not normals:
                raise CUASError(
                    f"The method '{name}' has no calibration and no normal scans are given to calibrate on."
                )
            calibrate(network, normals, inferer=method, **how)
        require_rate(method.scale_of(network), rate)


def evaluate(
    network: torch.nn.Module,
    methods: Mapping[str, CalibratedInferer],
    calibration_list: Sequence[dict[str, Any]],
    test_list: Sequence[dict[str, Any]],
    preprocessing: Callable,
    postprocessing: Callable,
    output_dir: str | os.PathLike,
    rate: float = 0.01,
    device: torch.device | str = "cpu",
    erode_voxels: int = 0,
    with_baselines: bool = True,
    panel_rows: int = 4,
    detection_score: str = "top",
    page: bool = True,
) -> dict[str, Any]:
    """
    Evaluate methods on normal and lesion scans and write the figures.

    Writes report.html, evaluation.json, evaluation.csv (method, group, metric, value), evaluation.md,
    precision_recall.png and panel.png, and what the pictures show as precision_recall.csv and panel.npz. Voxel figures
    pool the brain voxels of the lesion scans; false-positive rates are of every normal scan.

    Args:
        network: the trained network.
        methods: name to inferer; one without calibration gets it from ``calibration_list``.
        calibration_list: normal scans, used for the baselines as they were for the model.
        test_list: normal scans and lesion scans, optionally with "kind" and "size_mm"; what tells them apart is said in
            :func:`monai_cuas.calibration.truth.read_truth`. A lesion scan without a mask counts in the detection of
            scans, and of slices if it has slice labels, in no voxel figure.
        preprocessing: the one of inference.
        postprocessing: the one of inference; leaves "anomaly" on the native grid.
        output_dir: folder for the files.
        rate: healthy rate of the calibrated threshold.
        device: where the network runs.
        erode_voxels: the brain mask of all methods is eroded by this many voxels before anything is counted.
        with_baselines: False leaves :func:`baselines` out; they get the kind of threshold of the first method.
        panel_rows: lesion scans in the picture.
        detection_score: score of a scan and of a slice: "top", the mean of its highest values, or "std", the standard
            deviation of its map, as the code of Silva-Rodriguez et al. has it; of the calibrated map, whose lower part,
            which more healthy voxels exceed than the largest rate says, is one value.
        page: write report.html, with a picture of each scan (and its volumes, if a viewer is installed).

    Returns:
        The report as written to evaluation.json.

    Raises:
        CUASError: if nothing can be evaluated, or ``detection_score`` is another one.
    """
    if detection_score not in ("top", "std"):
        raise CUASError(f"detection_score is {detection_score!r}; give top or std.")
    strategy = type(next(iter(methods.values()), CalibratedInferer(StandardizedIntensityInferer())))
    every = {**methods, **(baselines(strategy) if with_baselines else {})}
    how = {"preprocessing": preprocessing, "postprocessing": postprocessing, "device": device}
    bound = float(unwrap(network).calibration.guaranteed.max_fraction)
    _ensure_calibrated(every, network, calibration_list, rate, max_fraction=bound, **how)
    gathered = {
        name: _Method(-math.log10(rate), method.scale_of(network), detection_score) for name, method in every.items()
    }
    failed: list[tuple[str, str]] = []
    panel: list[dict] = []
    remove_evaluated(output_dir)
    # by number, so that reports tell patients apart and name nobody; the same in every run on the list
    patients = {who: k for k, who in enumerate(dict.fromkeys(subject_of(entry) for entry in test_list))}

    def remember(entry: dict[str, Any]) -> dict[str, Any]:
        item = dict(preprocessing({k: v for k, v in entry.items() if k != "label"}))
        axis = axial_axis(item["brain_mask"].affine)
        return {**item, "entry": entry, "axis": axis, "truth": read_truth(entry, item["brain_mask"], axis)}

    for item, maps in score_scans(test_list, remember, network, every, postprocessing, device, "evaluating", failed):
        whole, truth, entry = np.asarray(item["brain_mask"])[0] > 0, item["truth"], item["entry"]
        affine = np.asarray(item["brain_mask"].affine)
        brain = whole
        if erode_voxels:
            brain = binary_erosion(brain, iterations=erode_voxels)
        groups, name = _groups(entry, truth), str(entry.get("name", entry.get("subject", len(panel))))
        finished = {m: every[m].finish(v, network) for m, v in maps.items()}
        arrays = {m: np.nan_to_num(np.asarray(v, dtype=np.float32)) * whole for m, v in finished.items()}
        for method, anomaly in arrays.items():
            who = (patients[subject_of(entry)], abs(np.linalg.det(affine[:3, :3])) / 1000)
            gathered[method].add(name, groups, anomaly, whole, brain, truth, item["axis"], *who)
        if page:
            leader = next(iter(gathered.values()))
            number, anomaly = len(leader.scans) - 1, next(iter(arrays.values()))
            limit = leader.scans[-1]["threshold_raised_to"] or leader.threshold
            shown = read_display_scan(item, whole.astype(np.float32))
            keep_evaluated(output_dir, number, shown, anomaly, whole, affine, limit, truth.voxels)
        if truth.diseased and len(panel) < panel_rows and (row := _panel_row(item, name, brain, arrays)):
            panel.append(row)
        # Two scans are in memory while the next maps are made, and this one need not be the third.
        del item, maps, finished, whole, brain, truth, arrays, anomaly
    if not next(iter(gathered.values())).scans:
        raise CUASError(f"None of the {len(test_list)} test scans could be evaluated; correct the data list.")
    report = {
        "rate": rate,
        "erode_voxels": erode_voxels,
        "threshold": next(iter(gathered.values())).scale.kind,
        "methods": {name: method.report() for name, method in gathered.items()},
        "against_first": paired_with_first({n: patient_figures(m.scans, m.patients) for n, m in gathered.items()}),
        "failed": [list(pair) for pair in failed],
    }
    _write(Path(output_dir), report)
    _draw(Path(output_dir), gathered, panel, rate)
    if page:
        write_evaluation_report(output_dir, report, {name: method.curves() for name, method in gathered.items()})
    logger.info("\n%s\nBy kind and size, and pictures: %s", _table(report, ["all lesions"]), Path(output_dir))
    return report


def require_complete(report: Mapping[str, Any]) -> None:
    """
    Raises:
        CUASError: if scans were left out of an evaluation; the figures of the others are written before.
    """
    if report["failed"]:
        reasons = " ".join(sentence for _, sentence in report["failed"])
        raise CUASError(f"{len(report['failed'])} test scans were left out of the evaluation: {reasons}")


def _write(folder: Path, report: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", report)
    with replacing(folder / "evaluation.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "group", "metric", "value", "low", "high"])
        for method, figures in report["methods"].items():
            for group, values in figures["groups"].items():
                ends = figures["intervals"] if group == _ALL else {}
                writer.writerows([method, group, m, value, *ends.get(m, ("", ""))] for m, value in values.items())
    with replacing(folder / "evaluation.md") as temporary:
        temporary.write_text(_table(report), encoding="utf-8")


def _cell(value: float | None, ends: Sequence[float | None] = ()) -> str:
    if value is None or math.isnan(value):
        return "-"
    if not ends or any(end is None or math.isnan(end) for end in ends):
        return f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def _rows(report: dict[str, Any], group: str, title: str, columns: Sequence[str], head: str, key: str) -> list[str]:
    """A table of a group; of all lesions, with the intervals."""
    lines = ["", f"## {title}", "", f"| method | {head} | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for name, method in report["methods"].items():
        values, ends = method["groups"].get(group, {}), method["intervals"] if group == _ALL else {}
        cells = " | ".join(_cell(values.get(c), ends.get(c, ())) for c in columns)
        lines.append(f"| {name} | {values.get(key, 0)} | {cells} |")
    return lines


def _paired(report: dict[str, Any]) -> list[str]:
    first = next(iter(report["methods"]))
    rows = [(name, key, test) for name, tests in report["against_first"].items() for key, test in tests.items()]
    rows = [row for row in rows if row[2]["n_patients"]]
    if not rows:
        return []
    lines = ["", f"## {first} against the others, over patients", ""]
    lines += ["| other | figure of a patient | patients | difference | p |", "|---|---|---|---|---|"]
    for name, key, test in rows:
        difference = _cell(test["difference"], (test["low"], test["high"]))
        p = "-" if math.isnan(test["p"]) else f"{test['p']:.2g}"
        lines.append(f"| {name} | {key} | {test['n_patients']} | {difference} | {p} |")
    return lines


def _table(report: dict[str, Any], groups: Sequence[str] | None = None) -> str:
    """Markdown of some groups, all by default."""
    lines = [
        f"Threshold: {report['rate']:.2%} of healthy brain voxels, {report['threshold']}. Columns named oracle choose",
        "their threshold on the test scans themselves. All methods share grid, brain mask, inverse, smoothing and",
        "calibration scans. In brackets: 95% bootstrap intervals over patients; p: two-sided Wilcoxon test over them.",
    ]
    for group in groups or list(dict.fromkeys(g for m in report["methods"].values() for g in m["groups"])):
        lines += _rows(report, group, group, (*_COLUMNS, *_ORACLE), "n", "n_scans")
        if any(m["groups"].get(group, {}).get("n_lesions") for m in report["methods"].values()):
            lines += _rows(report, group, f"{group}, by lesion", _LESION_COLUMNS[1:], "lesions", "n_lesions")
    lines += _paired(report)
    if report["failed"]:
        lines += ["", "## Not evaluated", "", *(f"- {message}" for _, message in report["failed"])]
    return "\n".join(lines) + "\n"


def _draw(folder: Path, gathered: Mapping[str, _Method], panel: list[dict], rate: float) -> None:
    if not panel:
        return
    draw_panel(folder / "panel.png", panel, list(gathered), rate)
    save_panel_rows(folder / "panel.npz", panel)
    rankings = {name: m.ranking["all lesions"] for name, m in gathered.items() if "all lesions" in m.ranking}
    if not rankings:  # slice labels alone
        return
    curves = {name: thin_curve(*(ranking.curve()[key] for key in ("tp", "fp"))) for name, ranking in rankings.items()}
    labels = {name: f"{name}, AUPRC {ranking.aggregate()['auprc']:.3f}" for name, ranking in rankings.items()}
    known = {name: curve for name, curve in curves.items() if curve is not None}
    draw_precision_recall(folder / "precision_recall.png", {labels[name]: [curve] for name, curve in known.items()})
    path = folder / "precision_recall.csv"
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["recall", *known])
        writer.writerows(zip(RECALL_GRID, *known.values()))
