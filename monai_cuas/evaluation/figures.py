# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Figures of detection that are sums over scans divided by sums over scans, by lesion too, and how sure they are.

A figure and its interval over patients come from the same two columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import (
    SIZE_BINS,
    LesionMatch,
    VoxelRankingMetric,
    equivalent_diameter,
    paired_test,
    patient_interval,
    ranking_figures,
    size_bin,
)

__all__ = ["intervals", "lesion_columns", "lesion_figures", "normal_figures", "paired_with_first", "patient_figures"]

_Scan = Mapping[str, Any]
_Ratio = tuple[Callable[[_Scan], float], Callable[[_Scan], float]]

_LESIONS: dict[str, _Ratio] = {
    "lesion_recall": (lambda s: s["lesions_found"], lambda s: s["lesions_found"] + s["lesions_missed"]),
    "lesion_precision": (lambda s: s["lesions_found"], lambda s: s["lesions_found"] + s["false_positives"]),
    "lesion_f1": (lambda s: 2 * s["lesions_found"], lambda s: 2 * s["lesions_found"] + _wrong(s)),
    "fp_per_scan": (lambda s: s["false_positives"], lambda s: 1),
    "lesion_dice": (lambda s: s["lesion_dice_sum"], lambda s: s["lesions_found"] + _wrong(s)),
    "pq": (lambda s: s["matched_iou_sum"], lambda s: _half_unmatched(s) + s["matched"]),
    "sq": (lambda s: s["matched_iou_sum"], lambda s: s["matched"]),
    "rq": (lambda s: s["matched"], lambda s: _half_unmatched(s) + s["matched"]),
}
_VOXELS: dict[str, _Ratio] = {
    "dice_pooled": (lambda s: 2 * s["overlap"], lambda s: s["found"] + s["true"]),
    "dice_mean": (lambda s: _or_zero(s["dice"]), lambda s: float(not math.isnan(s["dice"]))),
}
_NORMALS: dict[str, _Ratio] = {
    "fpr_normal_pooled": (lambda s: s["found"], lambda s: s["healthy"]),
    "fp_per_normal_scan": (lambda s: s["false_positives"], lambda s: 1),
}


def _wrong(scan: _Scan) -> int:
    return scan["lesions_missed"] + scan["false_positives"]


def _half_unmatched(scan: _Scan) -> float:
    lesions = scan["lesions_found"] + scan["lesions_missed"]
    return (lesions + scan["components"] - 2 * scan["matched"]) / 2


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def lesion_columns(match: LesionMatch) -> dict[str, Any]:
    """What a scan's record says of its lesions: each one, and the counts that the figures are made of."""
    diameters = [round(equivalent_diameter(volume), 2) for volume in match.volume_ml]
    lesions = zip(diameters, match.volume_ml, match.found, match.dice)
    return {
        "lesions": [dict(zip(("diameter_mm", "volume_ml", "found", "dice"), lesion)) for lesion in lesions],
        "lesions_found": sum(match.found),
        "lesions_missed": len(match.found) - sum(match.found),
        "lesions_outside": match.outside,
        "false_positives": match.false_positives,
        "components": match.components,
        "lesion_dice_sum": float(sum(match.dice)),
        "matched": len(match.matched_iou),
        "matched_iou_sum": float(sum(match.matched_iou)),
    }


def _value(scans: Sequence[_Scan], ratio: _Ratio) -> float:
    top, bottom = (sum(part(scan) for scan in scans) for part in ratio)
    return float(top / bottom) if bottom else math.nan


def lesion_figures(scans: Sequence[_Scan]) -> dict[str, float]:
    """
    Figures by lesion of scans whose lesions are outlined.

    Args:
        scans: records with :func:`lesion_columns`.

    Returns:
        Number of lesions and of those outside the voxels that count, the figures, and number and recall by size.
    """
    figures: dict[str, float] = {
        "n_lesions": sum(len(s["lesions"]) for s in scans),
        "lesions_outside": sum(s["lesions_outside"] for s in scans),
        **{name: _value(scans, ratio) for name, ratio in _LESIONS.items()},
    }
    for name in SIZE_BINS:
        found = [lesion["found"] for s in scans for lesion in s["lesions"] if size_bin(lesion["diameter_mm"]) == name]
        figures[f"n_lesions {name}"] = len(found)
        figures[f"lesion_recall {name}"] = float(np.mean(found)) if found else math.nan
    return figures


def normal_figures(scans: Sequence[_Scan]) -> dict[str, float]:
    """Pooled false-positive rate of normal scans, and parts of the mask in each."""
    return {name: _value(scans, ratio) for name, ratio in _NORMALS.items()}


def _of_patients(values: Sequence[float], patients: np.ndarray) -> np.ndarray:
    return np.bincount(patients, np.asarray(values, dtype=float))


def _ratio_interval(scans: Sequence[_Scan], ratio: _Ratio) -> tuple[float, float]:
    if not scans:
        return math.nan, math.nan
    _, patients = np.unique([scan["patient"] for scan in scans], return_inverse=True)
    top, bottom = (_of_patients([part(scan) for scan in scans], patients) for part in ratio)
    # who has nothing to be counted is no patient of the figure
    known = bottom > 0
    top, bottom = top[known], bottom[known]
    return patient_interval(lambda times: (times @ top) / (times @ bottom), len(top))


def _auroc_interval(scored: Sequence[tuple[float, bool, int]]) -> tuple[float, float]:
    """Of scores, whether there is a lesion, and whose they are; pairs are counted by pair of patients."""
    if len({lesion for _, lesion, _ in scored}) < 2:
        return math.nan, math.nan
    _, patients = np.unique([patient for _, _, patient in scored], return_inverse=True)
    scores, lesion = np.array([s[0] for s in scored]), np.array([s[1] for s in scored])
    n = int(patients.max()) + 1
    order = np.zeros((n, n))
    for score, patient in zip(scores[lesion], patients[lesion]):
        above = (score > scores[~lesion]) + 0.5 * (score == scores[~lesion])
        order[patient] += np.bincount(patients[~lesion], above, n)
    sick, healthy = (np.bincount(patients[which], minlength=n) for which in (lesion, ~lesion))

    def auroc(times: np.ndarray) -> np.ndarray:
        return np.einsum("rp,pq,rq->r", times, order, times, optimize=True) / ((times @ sick) * (times @ healthy))

    return patient_interval(auroc, n)


def _ranking_intervals(rankings: Sequence[VoxelRankingMetric]) -> dict[str, tuple[float, float]]:
    if not rankings:
        return {}
    bins = np.unique(np.concatenate([ranking.bins for ranking in rankings]))[::-1]
    counts = np.zeros((2, len(rankings), len(bins)))
    for k, ranking in enumerate(rankings):
        place = len(bins) - 1 - np.searchsorted(bins[::-1], ranking.bins)
        counts[0, k, place], counts[1, k, place] = ranking.positives, ranking.negatives

    def figure(which: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda times: ranking_figures(times @ counts[0], times @ counts[1])[which]

    names = ("auroc", "auprc")
    return {name: patient_interval(figure(k), len(rankings)) for k, name in enumerate(names)}


def intervals(
    scans: Sequence[_Scan],
    slices: Sequence[tuple[float, bool, int]],
    rankings: Mapping[int, VoxelRankingMetric],
) -> dict[str, tuple[float, float]]:
    """
    95% bootstrap intervals over patients of the figures of all lesion scans and all normal scans.

    Args:
        scans: records of all scans, with "patient", "groups", "scan_score" and, of outlined ones, the counts.
        slices: score, whether there is a lesion, and patient, of each slice.
        rankings: histogram of the voxels of a patient's lesion scans.

    Returns:
        Ends by name of the figure; NaN of fewer than three patients.
    """
    normal = [s for s in scans if "normal" in s["groups"]]
    outlined = [s for s in scans if "normal" not in s["groups"] and s["has_mask"]]
    found = _ranking_intervals(list(rankings.values()))
    found |= {name: _ratio_interval(outlined, ratio) for name, ratio in {**_VOXELS, **_LESIONS}.items()}
    found |= {name: _ratio_interval(normal, ratio) for name, ratio in _NORMALS.items()}
    found["scan_auroc"] = _auroc_interval([(s["scan_score"], "normal" not in s["groups"], s["patient"]) for s in scans])
    found["slice_auroc"] = _auroc_interval(slices)
    return found


def patient_figures(scans: Sequence[_Scan], rankings: Mapping[int, VoxelRankingMetric]) -> list[dict[str, Any]]:
    """Mean Dice and AUPRC of each patient with an outlined lesion; a patient is a number, by the order of the list."""
    dice: dict[int, list[float]] = {}
    for scan in scans:
        if not math.isnan(scan["dice"]):
            dice.setdefault(scan["patient"], []).append(scan["dice"])
    return [
        {
            "patient": patient,
            "dice": float(np.mean(values)),
            "auprc": rankings[patient].aggregate()["auprc"] if patient in rankings else math.nan,
        }
        for patient, values in dice.items()
    ]


def paired_with_first(patients: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """
    Test over patients whether the first method is better than each other.

    Args:
        patients: :func:`patient_figures` by method.

    Returns:
        By name of each other method, the paired test of "dice" and of "auprc".
    """
    tables = [{row["patient"]: row for row in rows} for rows in patients.values()]
    found: dict[str, dict[str, Any]] = {}
    for name, table in zip(list(patients)[1:], tables[1:]):
        both = [patient for patient in tables[0] if patient in table]
        found[name] = {
            key: paired_test([tables[0][p][key] for p in both], [table[p][key] for p in both])
            for key in ("dice", "auprc")
        }
    return found
