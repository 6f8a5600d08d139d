# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas compare``: train and judge several methods on the same scans."""

from __future__ import annotations

import argparse
import sys

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "compare",
        # an override such as --seed must not be taken for --seeds
        allow_abbrev=False,
        help="train and judge several methods on the same scans",
        description="Train, calibrate and evaluate methods on the same scans with the same code, and write one table "
        "(docs/methods). What is done already is not done again: the same command goes on where it was stopped.",
        epilog="Other arguments override ids of the bundle's configs: --epochs 2; --vae:learning_rate 0.001 is for "
        "one method alone.",
    )
    parser.add_argument(
        "--config_file", nargs="+", help="train.json, then overlays for all methods (default: the bundle's)"
    )
    parser.add_argument("--methods", nargs="+", required=True, help="overlays in configs/methods, or paths; all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the trainings (default: 0)")
    parser.add_argument("--output_dir", required=True, help="folder for the runs and the tables")
    parser.add_argument("--dataset_dir", help="folder of dataset.json (default: the phantom cohort)")
    parser.add_argument("--retrain", action="store_true", help="make runs anew whose settings have changed")
    parser.set_defaults(run=_run, overrides=[])


def _say(line: str) -> None:
    """Print above a bar that may be there; at once, though a file is written to."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def _run(arguments: argparse.Namespace) -> int:
    import logging

    from ..bundle import find_bundle_root, parse_overrides
    from ..evaluation.compare import Comparison
    from ..evaluation.report import write_report
    from ..utils import require_writable

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # a line for each epoch of each run would hide what is done and what remains; MONAI warns of their absence
    logging.getLogger("monai.handlers.StatsHandler").setLevel(logging.ERROR)
    require_writable(arguments.output_dir)
    comparison = Comparison(
        arguments.config_file or [f"{find_bundle_root()}/configs/train.json"],
        arguments.methods,
        arguments.seeds,
        arguments.output_dir,
        arguments.dataset_dir,
        parse_overrides(arguments.overrides),
        arguments.retrain,
    )
    comparison.run(lambda c: None if write_report(c) else None, say=_say)
    print((comparison.folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"Tables and pictures: {comparison.folder}")
    return 1 if comparison.failed else 0
