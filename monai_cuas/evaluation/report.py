# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tables and pictures of a comparison."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import SIZE_BINS, mean_interval
from ..utils import replacing, write_json
from ..visualize.comparison import draw_precision_recall, load_panel_rows, merge_panel_rows
from ..visualize.overlay import draw_panel
from ..visualize.report import ReportTable, write_comparison_report
from .figures import paired_with_first

if TYPE_CHECKING:
    from .compare import Comparison

__all__ = ["gather", "mean_and_std", "write_report"]

_RUN_FIGURES = ("seconds_per_volume", "peak_mb", "peak_gpu_mb", "parameters", "train_seconds")
_FIGURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "dice_pooled": "Dice at threshold",
    "scan_auroc": "scan AUROC",
    "fpr_normal_pooled": "healthy FPR",
}
_LESIONS = {
    "lesion_recall": "lesion recall",
    **{f"lesion_recall {name}": name for name in SIZE_BINS},
    "fp_per_scan": "FP per scan",
    "fp_per_normal_scan": "FP per normal scan",
    "lesion_dice": "lesion-wise Dice",
    "pq": "PQ",
}
_ORACLE = {"oracle_dice": "oracle Dice", "oracle_iou": "oracle IoU"}
_COST = {"seconds_per_volume": "s/volume", "peak_mb": "peak MB", "parameters": "parameters", "train_seconds": "train s"}
_ALL = "all lesions"
_HEAD = ("method", "seeds", *_FIGURES.values(), *_ORACLE.values(), *_COST.values())


def mean_and_std(values: Sequence[float | None]) -> tuple[float, float]:
    """
    Mean and sample standard deviation of the figures that are known.

    Returns:
        NaN for both without a figure; NaN for the deviation of a single one.
    """
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return math.nan, math.nan
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def gather(comparison: Comparison) -> dict[str, Any]:
    """
    Collect the figures of the runs that are evaluated.

    Returns:
        "rate"; "methods": by name, "label", "seeds" (by seed, "groups" and the cost), "mean" and "std" of each group's
        figures and of the cost; "failed" and "missing" runs.
    """
    methods: dict[str, Any] = {}
    missing, rate = [], None
    for run in comparison.runs:
        folder = run.folder
        record = _load(folder / "comparison_run.json")
        evaluation = _load(folder / "evaluation" / "evaluation.json")
        if "score" not in record or not evaluation:
            missing.append(f"{run.method}, seed {run.seed}")
            continue
        rate = evaluation["rate"]
        method = methods.setdefault(run.method, {"label": record["name"], "seeds": {}})
        (figures,) = evaluation["methods"].values()
        cost = {key: record.get(key) for key in _RUN_FIGURES}
        # evaluations of earlier versions have no figures of patients
        kept = {"groups": figures["groups"], "intervals": figures.get("intervals", {})}
        kept["patients"] = figures.get("patients", [])
        method["seeds"][str(run.seed)] = {**kept, "cost": cost, "folder": str(folder)}
    for method in methods.values():
        _summarise(method)
    order = sorted(methods, key=lambda m: -_or_low(methods[m]["mean"].get(_ALL, {}).get("auprc")))
    return {
        "rate": rate,
        "dataset_dir": str(comparison.dataset_dir),
        "methods": {name: methods[name] for name in order},
        "against_baselines": _against_baselines(methods),
        "failed": comparison.failed,
        "missing": missing,
    }


def _patients(method: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures of each patient, the mean over seeds."""
    seeds = [{row["patient"]: row for row in run["patients"]} for run in method["seeds"].values()]
    shared = [patient for patient in seeds[0] if all(patient in rows for rows in seeds)]
    return [
        {"patient": p, **{key: mean_and_std([rows[p][key] for rows in seeds])[0] for key in ("dice", "auprc")}}
        for p in shared
    ]


def _against_baselines(methods: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By method and by baseline, which is a method that trains nothing, the paired tests over patients."""
    patients = {name: _patients(method) for name, method in methods.items()}
    bases = [name for name, method in methods.items() if method["mean"]["cost"].get("parameters") == 0]
    found: dict[str, dict[str, Any]] = {}
    for name in methods:
        for base in bases:
            if name not in bases:
                found.setdefault(name, {})[base] = paired_with_first({name: patients[name], base: patients[base]})[base]
    return found


def _or_low(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _summarise(method: dict[str, Any]) -> None:
    runs = list(method["seeds"].values())
    groups = dict.fromkeys(g for run in runs for g in run["groups"])
    tables = {g: [run["groups"].get(g, {}) for run in runs] for g in groups}
    tables["cost"] = [run["cost"] for run in runs]
    method["mean"], method["std"] = {}, {}
    for name, rows in tables.items():
        pairs = {key: mean_and_std([row.get(key) for row in rows]) for key in dict.fromkeys(k for r in rows for k in r)}
        method["mean"][name] = {key: pair[0] for key, pair in pairs.items()}
        method["std"][name] = {key: pair[1] for key, pair in pairs.items()}


def _cell(method: Mapping[str, Any], table: str, key: str, digits: int = 3) -> str:
    mean, std = (method[part].get(table, {}).get(key, math.nan) for part in ("mean", "std"))
    if math.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


def _row(method: Mapping[str, Any]) -> list[str]:
    cells = [method["label"], str(len(method["seeds"]))]
    cells += [_cell(method, _ALL, key, 4 if key == "fpr_normal_pooled" else 3) for key in (*_FIGURES, *_ORACLE)]
    cells.append(_cell(method, "cost", "seconds_per_volume", 2))
    costs = [method["mean"]["cost"][key] for key in list(_COST)[1:]]
    return cells + ["-" if math.isnan(cost) else f"{cost:,.0f}" for cost in costs]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _by_lesion(report: Mapping[str, Any]) -> list[ReportTable]:
    methods = report["methods"].values()
    if not any(method["mean"].get(_ALL, {}).get("n_lesions") for method in methods):
        return []
    rows = [[m["label"], *(_cell(m, _ALL, key) for key in _LESIONS)] for m in methods]
    return [ReportTable("By lesion", "", ["method", *_LESIONS.values()], rows)]


def _markdown(table: ReportTable) -> list[str]:
    lines = ["", f"## {table.title}", "", *([table.said, ""] if table.said else []), _line(table.heads)]
    return [*lines, "|---" * len(table.heads) + "|", *map(_line, table.rows)]


def _with_ends(mean: float, low: float, high: float, digits: int = 3) -> str:
    if math.isnan(mean):
        return "-"
    ends = "" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{mean:.{digits}f}{ends}"


def _over_patients(report: Mapping[str, Any]) -> list[ReportTable]:
    """Mean Dice and AUPRC of a patient with intervals, and the tests against the baselines that are compared."""
    methods = report["methods"]
    bases = list(dict.fromkeys(base for tests in report["against_baselines"].values() for base in tests))
    if not any(run["patients"] for method in methods.values() for run in method["seeds"].values()):
        return []
    head = ["method", "Dice of a patient", "AUPRC of a patient"]
    head += [f"Dice less that of {methods[base]['label']}, p" for base in bases]
    said = "Means over patients and seeds with 95% bootstrap intervals over patients; p of the two-sided Wilcoxon test "
    lines = []
    for name, method in methods.items():
        rows = _patients(method)
        cells = [_with_ends(*mean_interval([row[key] for row in rows])) for key in ("dice", "auprc")]
        for base in bases:
            test = report["against_baselines"].get(name, {}).get(base, {}).get("dice")
            cells.append("" if test is None else _difference(test))
        lines.append([method["label"], *cells])
    return [ReportTable("Over patients", said + "over patients.", head, lines)]


def _difference(test: Mapping[str, Any]) -> str:
    p = "" if math.isnan(test["p"]) else f", p {test['p']:.2g}"
    return _with_ends(test["difference"], test["low"], test["high"]) + p


def _groups(report: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys(g for m in report["methods"].values() for g in m["mean"] if g not in (_ALL, "cost"))
    return list(names)


def _by_kind(report: Mapping[str, Any]) -> list[ReportTable]:
    groups = _groups(report)
    rows = [[m["label"], *(_cell(m, group, "auprc") for group in groups)] for m in report["methods"].values()]
    return [ReportTable("AUPRC by kind and size of lesion", "", ["method", *groups], rows)] if groups else []


def _told_beside(report: Mapping[str, Any]) -> dict[str, list[str]]:
    return {"Failed": [f"{k}: {v}" for k, v in report["failed"].items()], "Not done yet": report["missing"]}


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown, methods in descending order of the AUPRC."""
    lines = [
        "# Comparison",
        "",
        "Mean ± sample standard deviation over seeds. Voxels of all lesion scans are pooled. Dice is at the threshold",
        f"that {report['rate'] or 0:.2%} of the brain voxels of the calibration normals exceed; healthy FPR is the",
        "rate really found on the test normals, pooled. **Oracle columns choose their threshold on the test scans",
        "themselves** and are no figure a user would get. Seconds per volume are of the method alone, peak memory of",
        "the whole process while it scores.",
        "",
        _line(_HEAD),
        "|---" * len(_HEAD) + "|",
        *(_line(_row(method)) for method in report["methods"].values()),
    ]
    for part in (*_by_kind(report), *_by_lesion(report), *_over_patients(report)):
        lines += _markdown(part)
    for title, entries in _told_beside(report).items():
        if entries:
            lines += ["", f"## {title}", "", *(f"- {entry}" for entry in entries)]
    return "\n".join(lines) + "\n"


def _rows(report: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for name, method in report["methods"].items():
        for seed, run in method["seeds"].items():
            for group, figures in {**run["groups"], "cost": run["cost"]}.items():
                rows += [[name, seed, group, metric, value] for metric, value in figures.items()]
    return rows


def _pictures(folder: Path, report: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Draw curves and panel; returns the curves of each method's runs."""
    curves: dict[str, list[np.ndarray]] = {}
    panels = {}
    for method in report["methods"].values():
        folders = [Path(run["folder"]) / "evaluation" for run in method["seeds"].values()]
        files = [f / "precision_recall.csv" for f in folders if (f / "precision_recall.csv").is_file()]
        label = f"{method['label']}, AUPRC {_cell(method, _ALL, 'auprc')}"
        if files:
            curves[label] = [np.loadtxt(file, delimiter=",", skiprows=1)[:, 1] for file in files]
        if (folders[0] / "panel.npz").is_file():
            panels[method["label"]] = load_panel_rows(folders[0] / "panel.npz")
    if curves:
        draw_precision_recall(folder / "precision_recall.png", curves)
    rows = merge_panel_rows(panels) if panels else []
    if rows:
        draw_panel(folder / "panel.png", rows, list(panels), report["rate"])
    return curves


def _page(folder: Path, report: Mapping[str, Any], curves: Mapping[str, list[np.ndarray]]) -> None:
    said = f"Dice is at the threshold that {report['rate'] or 0:.2%} of the calibration normals' voxels exceed."
    every = ReportTable("All methods", said, _HEAD, [_row(method) for method in report["methods"].values()])
    tables = [every, *_by_kind(report), *_by_lesion(report), *_over_patients(report)]
    known = [m for m in report["methods"].values() if all(run["patients"] for run in m["seeds"].values())]
    dice = {method["label"]: [row["dice"] for row in _patients(method)] for method in known}
    write_comparison_report(folder, tables, curves, dice, _told_beside(report))


def write_report(comparison: Comparison) -> dict[str, Any]:
    """
    Write report.html, comparison.json, comparison.csv, comparison.md, precision_recall.png and panel.png of what is
    done so far.

    The panel shows the runs of each method's first seed.

    Returns:
        The content of comparison.json.
    """
    report, folder = gather(comparison), comparison.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", report)
    with replacing(folder / "comparison.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "group", "metric", "value"])
        writer.writerows(_rows(report))
    with replacing(folder / "comparison.md") as temporary:
        temporary.write_text(table(report), encoding="utf-8")
    _page(folder, report, _pictures(folder, report))
    return report
