# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Thresholds from normal scans alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.subjects import subject_of
from ..inferers import CalibratedInferer, unwrap
from ..metrics import top_fraction_mean
from ..networks.layers import GuaranteedCalibration
from ..utils import CUASError, write_json
from ..visualize.report import write_calibration_report
from .risk_control import ExceedanceCurve, guaranteed_threshold, require_fraction
from .scores import keep_scan_scores, scan_statistic
from .scoring import score_scans
from .truth import lesion_free

__all__ = ["calibrate", "conformal_quantile"]

logger = logging.getLogger(__name__)

# a rate needs this many expected healthy voxels above its threshold: with fewer, the threshold is a matter of chance
_MIN_EXCEEDING = 100


def conformal_quantile(values: np.ndarray, rate: float) -> float:
    """
    Threshold that a further exchangeable value exceeds with a probability of at most ``rate``.

    The k-th smallest of n values with k = ceil((n + 1)(1 - rate)) (split conformal prediction; Vovk et al. 2005).

    Args:
        values: sorted in ascending order, (n,).
        rate: in (0, 1).

    Returns:
        The threshold; NaN if n values cannot support the rate (k > n).
    """
    position = math.ceil((len(values) + 1) * (1 - rate))
    return float(values[position - 1]) if 0 < position <= len(values) else float("nan")


# voxels of all scans that are kept; one in a hundred thousand of half of them is still a hundred
_MOST_VOXELS = 20_000_000


class _VoxelSample:
    """
    Brain voxels' scores of the calibration scans: a seeded sample of each scan, and figures of the whole.

    Args:
        max_voxels_per_scan: that are taken of a scan.
        seed: of the sample.
        most: voxels that are kept of all scans; beyond them every second one of each goes, so that memory does not grow
            with the number of scans and each keeps its weight.
    """

    def __init__(self, max_voxels_per_scan: int, seed: int, most: int = _MOST_VOXELS) -> None:
        self.limit, self.generator = max_voxels_per_scan, np.random.default_rng(seed)
        self.most, self.halved = most, 0
        self.values: list[np.ndarray] = []
        self.names: list[str] = []
        self.subjects: list[str] = []
        self.scan_scores: list[float] = []
        self.scan_statistics: list[float] = []
        self.curves: list[ExceedanceCurve] = []

    def add(self, name: str, subject: str, anomaly: torch.Tensor, brain: torch.Tensor, statistic: Callable) -> None:
        scores = np.nan_to_num(np.asarray(anomaly, dtype=np.float32)[np.asarray(brain, dtype=bool)])
        self.names.append(name)
        self.subjects.append(subject)
        self.scan_scores.append(top_fraction_mean(scores))
        self.scan_statistics.append(statistic(scores))
        self.curves.append(ExceedanceCurve.of(scores))
        if len(scores) > self.limit:
            scores = self.generator.choice(scores, self.limit, replace=False)
        self.values.append(self._thinned(scores, self.halved))
        if len(self.values) > 1 and sum(map(len, self.values)) > self.most:
            self.values = [self._thinned(values, 1) for values in self.values]
            self.halved += 1

    def _thinned(self, values: np.ndarray, halved: int) -> np.ndarray:
        """A random half of the values, so many times; at least one is left."""
        if not halved:
            return values
        return self.generator.choice(values, max(len(values) >> halved, 1), replace=False)

    def sorted(self) -> np.ndarray:
        pooled = np.concatenate(self.values)
        pooled.sort()
        return pooled

    def one_of_each(self) -> list[float]:
        """Statistic of one scan of each subject, drawn at random: those of a subject are no further observations."""
        draw = np.random.default_rng(len(self.subjects))
        where = {who: [k for k, other in enumerate(self.subjects) if other == who] for who in self.subjects}
        return [self.scan_statistics[ks[0] if len(ks) == 1 else int(draw.choice(ks))] for ks in where.values()]

    def exceedance(self, threshold: float) -> list[float]:
        return [float((scores >= threshold).mean()) for scores in self.values]


def _collect(
    network: torch.nn.Module,
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    inferer: CalibratedInferer,
    postprocessing: Callable,
    device: torch.device | str,
    sample: _VoxelSample,
    desc: str,
    failed: list[tuple[str, str]],
    statistic: Callable,
) -> _VoxelSample:
    methods = {"map": inferer}

    def prepare(entry: dict[str, Any]) -> dict[str, Any]:
        item = dict(preprocessing({k: v for k, v in entry.items() if k != "label"}))
        return {**item, "whose": subject_of(entry), "normal_tissue": lesion_free(entry, item["brain_mask"])}

    for item, maps in score_scans(datalist, prepare, network, methods, postprocessing, device, desc, failed):
        name = str(item.get("name", item.get("subject", len(sample.names))))
        sample.add(name, item["whose"], maps["map"], item["normal_tissue"], statistic)
        # Two scans are in memory while the next map is made, and this one need not be the third.
        del item, maps
    return sample


def _thresholds(values: np.ndarray, rates: np.ndarray) -> np.ndarray:
    return np.array(
        [conformal_quantile(values, r) if len(values) * min(r, 1 - r) >= _MIN_EXCEEDING else math.nan for r in rates]
    )


def _relevel(thresholds: np.ndarray, rates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """
    Move the raw thresholds so that the rates hold for the final map.

    The score is formed before the map is resampled to the native grid and smoothed, which moves its tail a little: a
    score of -log10(rate) is then exceeded at a somewhat other rate. ``values`` are scores of the final map; the score
    that is really exceeded at each rate is carried back through the calibration to the raw map.
    """
    known = ~np.isnan(thresholds)
    scores = -np.log10(rates)
    measured = _thresholds(values, rates)
    moved = thresholds.copy()
    tail = known & ~np.isnan(measured) & (rates <= 0.5)
    # linear beyond the outermost knots, as the calibration itself is
    x, y = thresholds[known], scores[known]
    slope = (x[-1] - x[-2]) / (y[-1] - y[-2]) if len(x) > 1 else 0.0
    raw = np.interp(measured[tail], y, x) + np.maximum(measured[tail] - y[-1], 0.0) * slope
    moved[tail] = raw
    moved[known] = np.maximum.accumulate(moved[known])
    return moved


def _set_guaranteed(scale: GuaranteedCalibration, sample: _VoxelSample, bound: float) -> None:
    """Thresholds from the raw maps behind the postprocessing, which nothing of the calibration scans has touched."""
    rates = scale.rates.tolist()
    thresholds = [guaranteed_threshold(sample.curves, r, bound, sample.subjects) for r in rates]
    # the overstated shares of two rates may cross by a rounding
    known = np.array(thresholds)
    known[~np.isnan(known)] = np.maximum.accumulate(known[~np.isnan(known)])
    scale.set_(torch.as_tensor(known))
    keep_scan_scores(scale, sample.one_of_each())
    scale.max_fraction.fill_(bound)


def _guarantee_report(scale: GuaranteedCalibration, n_scans: int) -> dict[str, Any]:
    values = dict(zip((f"{r:g}" for r in scale.rates.tolist()), scale.thresholds.tolist()))
    n, bound = scale.n_scans, float(scale.max_fraction)
    return {
        "meaning": "threshold on the raw map, on the scan's own grid, at which a scan of a further subject like these "
        "has at most the stated share of its brain found, in expectation (conformal risk control, a subject with "
        "several scans counts once); --guarantee true uses it",
        "n_scans": n_scans,
        "n_subjects": n,
        "max_fraction": bound,
        "smallest_rate": bound / (n + 1),
        "thresholds": {r: t for r, t in values.items() if not math.isnan(t)},
        "normal_scans_needed": {r: math.ceil(bound / float(r) - 1 - 1e-9) for r in values if math.isnan(values[r])},
    }


def _report(
    sample: _VoxelSample, calibration: Any, network: Any, failed: Sequence[tuple[str, str]], weights: str | None
) -> dict[str, Any]:
    rates, thresholds = calibration.rates.tolist(), calibration.thresholds.tolist()
    supported = {f"{r:g}": t for r, t in zip(rates, thresholds) if not math.isnan(t)}
    realised = {r: sample.exceedance(-math.log10(float(r))) for r in supported if float(r) <= 0.05}
    scan_scores = np.array(sample.scan_scores)
    return {
        "weights": None if weights is None else Path(weights).name,
        "meaning": "threshold on the raw map that healthy brain voxels, pooled over the calibration scans, exceed at "
        "the stated rate; the anomaly map shows -log10 of that rate",
        "n_scans": len(sample.names),
        "n_subjects": len(set(sample.subjects)),
        "n_voxels": int(sum(map(len, sample.values))),
        "thresholds": supported,
        # the recipe of the authors' code is a percentile of the normal scans' map: the same thresholds, named so
        "percentiles": {f"{100 * (1 - float(r)):g}": t for r, t in supported.items()},
        "unsupported_rates": [r for r, t in zip(rates, thresholds) if math.isnan(t)],
        "realised_rate_note": "in-sample, measured in pass 2 with the thresholds of pass 1, before the final "
        "correction; the rate on normal scans that took no part in calibration is in evaluation.json",
        "realised_rate_on_calibration_scans": {
            r: {"mean": float(np.mean(v)), "max": float(np.max(v)), "by_scan": dict(zip(sample.names, v))}
            for r, v in realised.items()
        },
        "scan_scores": {
            "by_scan": dict(zip(sample.names, sample.scan_scores)),
            "quantiles": {f"{q:g}": float(np.quantile(scan_scores, q)) for q in (0.5, 0.9, 0.95, 1.0)},
        },
        "guaranteed": _guarantee_report(calibration.guaranteed, len(sample.names)),
        "intensity_landmarks": unwrap(network).standardize.landmarks.tolist(),
        "failed": [list(pair) for pair in failed],
    }


def calibrate(
    network: torch.nn.Module,
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    inferer: CalibratedInferer,
    postprocessing: Callable,
    device: torch.device | str = "cpu",
    output_json: str | None = None,
    min_scans: int = 3,
    max_voxels_per_scan: int = 500_000,
    seed: int = 0,
    weights: str | None = None,
    max_fraction: float | None = None,
) -> dict[str, Any]:
    """
    Fit the calibration of a method on held-out normal scans.

    The rates are of brain voxels pooled over scans, on each scan's own grid, behind the whole of the postprocessing; a
    single scan may lie above or below. Two passes: the first sets the thresholds from raw maps, the second corrects
    them for what resampling and smoothing do to the calibrated map. The raw maps also give the guaranteed thresholds,
    one subject being one observation (docs/explanation/calibration.md); both scales keep a scan's score of each subject
    for p-values.

    Args:
        network: the trained network; its calibration is set in place unless the inferer has its own.
        datalist: normal scans that took no part in training; of a scan with lesions in its "label" the slices without
            lesion are used.
        preprocessing: the one of inference.
        inferer: the method.
        postprocessing: the one of inference, without the threshold (leaves "anomaly").
        device: where the network runs.
        output_json: readable report, and beside it, as a page, the same name with .html; None writes none.
        min_scans: fewer good scans than this are refused.
        max_voxels_per_scan: of a larger scan, a random sample of this size is used.
        seed: of that sample.
        weights: file that the calibration will be saved in; the report gives its name.
        max_fraction: largest share of a brain that a mask with a guaranteed threshold may cover, in (0, 1]; None: 1.
            A smaller one lets fewer scans guarantee a rate.

    Returns:
        The report: thresholds by rate and by percentile, rates without support, realised rates, scans' scores.

    Raises:
        CUASError: if there are too few scans or voxels for any rate.
    """
    failed: list[tuple[str, str]] = []
    bound = require_fraction(max_fraction)
    raw, pooled = (CalibratedInferer(inferer.inferer, inferer.calibration, raw) for raw in (True, False))
    calibration = inferer.calibration_of(network)

    def collect(method: CalibratedInferer, desc: str, statistic: Callable) -> _VoxelSample:
        failed.clear()
        empty = _VoxelSample(max_voxels_per_scan, seed)
        return _collect(
            network, datalist, preprocessing, method, postprocessing, device, empty, desc, failed, statistic
        )

    sample = collect(raw, "calibrating (1/2)", top_fraction_mean)
    if len(sample.names) < min_scans:
        raise CUASError(
            f"{len(sample.names)} of {len(datalist)} normal scans could be used for calibration, at least {min_scans} "
            "are needed; add normal scans that were not trained on to the calibration list."
        )
    rates = np.array(calibration.rates.tolist())
    thresholds = _thresholds(sample.sorted(), rates)
    if np.isnan(thresholds[rates < 0.5]).all() or np.isfinite(thresholds).sum() < 2:
        raise CUASError(
            f"The {len(sample.names)} calibration scans hold too few brain voxels for any of the rates; add more."
        )
    calibration.set_(torch.as_tensor(thresholds))
    _set_guaranteed(calibration.guaranteed, sample, bound)
    sample = collect(pooled, "calibrating (2/2)", partial(scan_statistic, calibration))
    keep_scan_scores(calibration, sample.one_of_each())
    calibration.set_(torch.as_tensor(_relevel(thresholds, rates, sample.sorted())))
    report = _report(sample, calibration, network, failed, weights)
    if report["unsupported_rates"]:
        logger.warning(
            "%d normal scans are too few for the rates %s; they stay without a threshold.",
            report["n_scans"],
            report["unsupported_rates"],
        )
    if output_json is not None:
        write_json(output_json, report)
        page = write_calibration_report(Path(output_json).with_suffix(".html"), report)
        logger.info("Thresholds set on %d normal scans: %s, as a page: %s", report["n_scans"], output_json, page)
    return report
