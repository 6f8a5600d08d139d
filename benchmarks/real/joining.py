# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
How the maps of models and the intensity are best joined, on scans that are for choosing:

    python benchmarks/real/joining.py --models RUN/model.pt OTHER/model.pt --test LISTS/lgg_flair_tune --output OUT

Pooled AUPRC on the network's grid of each model's smoothed map, of the smoothed intensity, and of their products with
exponents, for several widths of the smoothing; of several models, also of the mean of their logits. Nothing is fitted.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from network_grid import Scan, Scans

from monai_cuas import load_model
from monai_cuas.data.datalist import load_datalist
from monai_cuas.inferers import JoinedMapInferer, StandardizedIntensityInferer
from monai_cuas.metrics import VoxelRankingMetric
from monai_cuas.pipeline import Model

SMOOTHING = (1.0, 2.0, 3.0, 4.0)
EXPONENTS = (0.25, 0.5, 1.0, 2.0)
_DARKEST = 1e-3


def _volume(values: torch.Tensor) -> np.ndarray:
    return np.moveaxis(np.asarray(values[0, 0]), -1, 0)


def sources(scan: Scan, models: dict[str, Model], smoothing: float) -> dict[str, np.ndarray]:
    """Logarithm of each source's value, (Z, S, S): the models by name, all of them if there are several, and ``I``."""
    logits, found = [], {}
    for name, model in models.items():
        inferer = model.map_inferer()
        if not isinstance(inferer, JoinedMapInferer):
            raise ValueError(f"{model.path} is of {model.method}, which has no map to join.")
        inferer = JoinedMapInferer(**{**inferer.arguments, "smoothing": smoothing})
        log_p = inferer.log_probability(scan.volume, model.network)
        logits.append(log_p - torch.log1p(-log_p.exp().clamp(max=1 - 1e-7)))
        found[name] = _volume(log_p)
    if len(models) > 1:
        for several in range(2, len(models) + 1):
            for chosen in itertools.combinations(range(len(models)), several):
                name = " + ".join(list(models)[k] for k in chosen)
                mean = torch.stack([logits[k] for k in chosen]).mean(dim=0)
                found[name] = _volume(torch.nn.functional.logsigmoid(mean))
    network = next(iter(models.values())).network
    image = StandardizedIntensityInferer(smoothing=smoothing)(scan.volume, network)
    usual = max(float(network.standardize.median), _DARKEST)  # type: ignore[union-attr]
    found["I"] = _volume(image.clamp(min=_DARKEST).log())
    found["I, dark as usual"] = _volume(image.clamp(min=usual).log())
    return found


def joined(found: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Each source alone, then each map with the intensity."""
    yield "I", found["I"]
    for name, log_p in found.items():
        if name.startswith("I"):
            continue
        yield f"p of {name}", log_p
        for exponent in EXPONENTS:
            yield f"p^{exponent:g} I of {name}", exponent * log_p + found["I, dark as usual"]


@torch.no_grad()
def main() -> None:
    """Write ``joining.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--test", type=Path, required=True, help="folder of a dataset.json with test scans")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--smoothing", nargs="+", type=float, default=SMOOTHING, help="mm")
    args = parser.parse_args()
    models = {Path(path).resolve().parent.name: load_model(path) for path in args.models}
    preprocessing = next(iter(models.values())).preprocessing().for_slices()
    scans = Scans(load_datalist(args.test / "dataset.json", "test_lesion"), preprocessing)
    rows: dict[str, list[str]] = {}
    for smoothing in args.smoothing:
        ranking: dict[str, VoxelRankingMetric] = {}
        for scan in scans:
            for name, score in joined(sources(scan, models, smoothing)):
                ranking.setdefault(name, VoxelRankingMetric())(score[scan.inside], scan.lesion[scan.inside])
        for name, metric in ranking.items():
            rows.setdefault(name, []).append(f"{metric.aggregate()['auprc']:.3f}")
    lines = [f"| score | {' | '.join(f'{s:g} mm' for s in args.smoothing)} |", "|---" * (len(args.smoothing) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "joining.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
