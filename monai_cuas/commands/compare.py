# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas compare``: train and judge several methods on the same scans."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["add_parser", "parse_overrides"]


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
    parser.add_argument("--config_file", nargs="+", required=True, help="train.json, then overlays for all methods")
    parser.add_argument("--methods", nargs="+", required=True, help="overlays in configs/methods, or paths; all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the trainings (default: 0)")
    parser.add_argument("--output_dir", required=True, help="folder for the runs and the tables")
    parser.add_argument("--dataset_dir", help="folder of dataset.json (default: the phantom cohort)")
    parser.add_argument("--retrain", action="store_true", help="make runs anew whose settings have changed")
    parser.set_defaults(run=_run, overrides=[])


def _value(text: str) -> Any:
    """A number, list, true, false or null where it reads as one; the text itself otherwise."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """
    Read ``--key value`` and ``--key=value`` pairs.

    Raises:
        CUASError: for anything else.
    """
    from ..utils import CUASError

    pairs: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        key, separator, value = rest.pop(0).partition("=")
        if not key.startswith("--") or len(key) < 3 or not (separator or rest):
            raise CUASError(f"The argument '{key}' cannot be read; overrides are pairs such as --epochs 2.")
        pairs[key[2:]] = _value(value if separator else rest.pop(0))
    return pairs


def _say(line: str) -> None:
    """Print above a bar that may be there; at once, though a file is written to."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def _run(arguments: argparse.Namespace) -> int:
    import logging

    from ..evaluation.compare import Comparison
    from ..evaluation.report import write_report
    from ..utils import require_writable

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # a line for each epoch of each run would hide what is done and what remains; MONAI warns of their absence
    logging.getLogger("monai.handlers.StatsHandler").setLevel(logging.ERROR)
    require_writable(arguments.output_dir)
    comparison = Comparison(
        arguments.config_file,
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
