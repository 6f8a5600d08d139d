# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Every method of ``compare`` on real scans at its full width, each beside its own network with random weights:

    python benchmarks/real/methods.py run --lists LISTS --sequence flair --epochs 6 --output OUT --methods vae ae
    python benchmarks/real/methods.py table --output OUT

``LISTS`` is of ``lists.py``; patients, grid and figures are those of ``ablation.py``. A method is trained by its own
overlay (64 to 512 channels where it has such; the weights of the best loss on held-out normals) and judged by the map
of its own inferer. What lies behind the first stage of autoencoders is computed in bfloat16 where the CPU can. Methods
that differ from the VAE in their map alone take up the VAE's training. Rows of anomalib need ``ANOMALIB_PYTHON``. A
finished row is appended to ``results.jsonl`` and not made again; a method that fails is named, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from network_grid import (
    BASELINES,
    CONFIGS,
    SIZE,
    Benchmark,
    Results,
    inferred,
    interval,
    interval_text,
    judged,
    made_once,
)

from monai_cuas.bundle import make_workflow, method_overlay, with_bases
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.networks.utils import has_fast_bfloat16

CHANNELS = [64, 128, 256, 512]
# the autoencoders' own; the same for all, so that an epoch has as many steps
BRAIN_FRACTION = 0.3
# the cheap ones first
METHODS = (
    "vae",
    "padim",
    "patchcore",
    "synthetic_anomaly",
    "ae",
    "context_vae",
    "amcons",
    "gradcam_cons",
    "gradcam_cons_mean",
    "equality_l2",
    "attention_expansion",
    "equality_l1",
    "ce_vae",
    "gradcon",
    "bayesian_vae",
    "ano_vae_gan",
    "f_ano_gan",
    "restoration_vae",
)
ON_IMAGENET = ("anomalib_padim", "anomalib_patchcore")
TRAINED_AS = {"padim": "vae", "patchcore": "vae", "restoration_vae": "vae"}
# the same network and map before any step, so one row of random weights serves them all
UNTRAINED_AS = {
    **dict.fromkeys(("ae", "context_vae", "ano_vae_gan", "f_ano_gan"), "vae"),
    **dict.fromkeys(("equality_l1", "equality_l2", "attention_expansion"), "gradcam_cons"),
}
# fewer repetitions of the slowest maps than the overlays have, as docs/methods/README.md allows
LIGHTER = {
    "bayesian_vae": {"network_def#samples": 10},
    "restoration_vae": {"network_def#steps": 10, "network_def#step_size": 0.015},
}


def _in_bfloat16(method: Callable) -> Callable:
    """A method of a network, computed in bfloat16 and given back in float32."""

    def fast(self: Any, *args: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            found = method(self, *args)
        return tuple(part.float() for part in found) if isinstance(found, tuple) else found.float()

    return fast


def _files(method: str) -> list[str]:
    overlay = method_overlay(method, CONFIGS)
    return [str(CONFIGS / "train.json"), *(with_bases(overlay) if overlay else [])]


def _config(method: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(_files(method))
    return parser


def _without_training(steps: Any) -> list[str]:
    """Of a method's steps those that no gradient is needed for: what it remembers of the normals."""
    steps = [steps] if isinstance(steps, str) else steps
    return [step for step in steps if step == "@normal_level" or "@network_def.fit(" in step]


def settings(method: str, trained: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Overrides of a row: width, length and place of its training."""
    config = _config(method)
    folder = (
        args.output
        / "runs"
        / f"{args.sequence}_{method}{'' if trained else '_untrained'}_{args.size}_{args.seed}_{args.epochs}"
    )
    ids: dict[str, Any] = {
        "bundle_root": str(CONFIGS.parent),
        "dataset_dir": str(args.lists / f"lgg_{args.sequence}"),
        "output_dir": str(folder),
        "cache_dir": str(args.output / "cache_of_methods"),
        "preprocessing_cache": str(args.output / "cache_of_preprocessing"),
        "image_size": args.size,
        "min_brain_fraction": BRAIN_FRACTION,
        "epochs": args.epochs,
        "seed": args.seed,
        "num_workers": 0,
        "device": "cpu",
        "after_training": [],
        **LIGHTER.get(method, {}),
    }
    if "channels" in config:
        ids["channels"] = CHANNELS
    remembered = _without_training(config["training_steps"])
    if not trained:
        ids["training_steps"] = remembered
    elif method in TRAINED_AS:
        weights = Path(settings(TRAINED_AS[method], True, args)["output_dir"]) / "model.pt"
        ids["training_steps"] = [f"$take_over(@network_def, {str(weights)!r})", *remembered]
        ids["imports"] = [*config["imports"], "$from methods import take_over"]
    return ids


def take_over(network: torch.nn.Module, weights: str) -> None:
    """Give a network the weights of another method's training; what it has beside them stays."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("model", state), strict=False)


def _made(method: str, ids: dict[str, Any]) -> tuple[Any, Any, str, int]:
    """Network, inferer, name and steps of a row, its training behind it."""
    workflow = make_workflow(_files(method), "train", meta_file=str(CONFIGS / "metadata.json"), **ids)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    get = workflow.parser.get_parsed_content
    steps = ids["epochs"] * len(get("train#dataloader"))
    return get("network_def").eval(), get("map_inferer"), get("method"), steps


def _row(method: str, trained: bool, bench: Benchmark, results: Results, args: argparse.Namespace) -> None:
    ids, start = settings(method, trained, args), time.perf_counter()
    torch.manual_seed(args.seed)
    network, inferer, name, steps = _made(method, ids)
    middle = time.perf_counter()
    figures = judged(made_once(inferred(inferer, network), bench), bench)
    fitted = method in ON_IMAGENET
    what = {
        "name": name,
        "trained": trained,
        "training_steps": 0 if fitted or not trained else steps,
        "seconds": {"training": middle - start, "maps": time.perf_counter() - middle},
        "figures": {"map": figures},
    }
    results.add(method if trained else f"{method}, untrained", args.seed, args.epochs if trained else 0, **what)
    print(f"{name}{'' if trained else ', untrained'}: {json.dumps(what['seconds'])}", flush=True)


def run(args: argparse.Namespace) -> None:
    """Make the rows that are not there yet."""
    args.output, args.lists = args.output.resolve(), args.lists.resolve()
    bench = Benchmark(args.lists, args.sequence, args.output, others=False, size=args.size)
    results, failed = Results(args.output, args.sequence, args.size), []
    results.add_baselines(bench)
    for name in ("encode", "decode"):
        setattr(AttentionVAE, name, _in_bfloat16(getattr(AttentionVAE, name)))
    logging.getLogger("monai.handlers.StatsHandler").setLevel(logging.ERROR)
    for method in args.methods:
        for trained in (True, False)[: 1 if method in (*ON_IMAGENET, *UNTRAINED_AS) else 2]:
            row, steps = (method, args.epochs) if trained else (f"{method}, untrained", 0)
            if results.has(row, args.seed, steps):
                continue
            try:
                _row(method, trained, bench, results, args)
            except Exception as error:
                failed.append(f"{row}: {type(error).__name__}: {error}")
                print(failed[-1], flush=True)
    if failed:
        raise SystemExit("not made: " + "; ".join(failed))


def _gain(trained: dict[str, Any], untrained: dict[str, Any] | None) -> str:
    """Mean difference of a patient's AUPRC, by training, and its interval over patients."""
    if untrained is None:
        return "-"
    pairs = [figures["figures"]["map"]["lgg"]["patients"]["auprc"] for figures in (trained, untrained)]
    return interval_text(interval((np.array(pairs[0]) - np.array(pairs[1])).tolist()))


def _line(name: str, row: dict[str, Any], gain: str) -> str:
    figures = row["figures"]["map"]["lgg"]
    cells = [f"{figures['all'][key]:.3f}" for key in ("auprc", "dice", "oracle_dice")]
    cells += [interval_text(figures[key]) for key in ("patient_auprc", "patient_dice")]
    cells += [gain, *(f"{figures['ten'][key]:.3f}" for key in ("auprc", "dice", "oracle_dice"))]
    return f"| {name} | {row.get('training_steps') or '-'} | {' | '.join(cells)} |"


def table(args: argparse.Namespace) -> None:
    """Print the finished rows, and name those that are not there."""
    for sequence in ("flair", "t1"):
        rows = {r["row"]: r for r in Results(args.output, size=args.size).rows() if r["sequence"] == sequence}
        if not rows:
            continue
        print(f"\n## {sequence}\n\n| row | steps | AUPRC | Dice | oracle Dice | AUPRC of a patient (95%) ", end="")
        print("| Dice of a patient (95%) | gain by training (95%) | ten slices: AUPRC | Dice | oracle Dice |")
        print("|---" * 11 + "|")
        for name in BASELINES:
            print(_line(name, rows[name], "-"))
        for method in (*ON_IMAGENET, *METHODS):
            row, untrained = rows.get(method), rows.get(f"{UNTRAINED_AS.get(method, method)}, untrained")
            if row:
                print(_line(row["name"], row, _gain(row, untrained)))
            if untrained and method not in UNTRAINED_AS:
                print(_line(f"{untrained['name']}, random weights", untrained, "-"))
        print(f"\nNot made: {', '.join(m for m in (*METHODS, *ON_IMAGENET) if m not in rows) or 'none'}.")


def main() -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, do in (("run", run), ("table", table)):
        command = commands.add_parser(name, help=do.__doc__)
        command.add_argument("--output", type=Path, required=True, help="folder of results.jsonl")
        command.add_argument("--size", type=int, default=SIZE, help="side of the slices in pixels")
        command.set_defaults(do=do)
        if do is run:
            command.add_argument("--lists", type=Path, required=True, help="folder that lists.py wrote")
            command.add_argument("--sequence", choices=("flair", "t1"), required=True)
            command.add_argument("--epochs", type=int, default=6)
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--methods", nargs="+", default=METHODS, choices=(*METHODS, *ON_IMAGENET))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.do(args)


if __name__ == "__main__":
    main()
