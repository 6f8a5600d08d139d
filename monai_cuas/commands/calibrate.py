# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas calibrate``: set a model's thresholds on normal scans; a front of the bundle's calibrate.json."""

from __future__ import annotations

import argparse
import os

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "calibrate",
        allow_abbrev=False,
        help="set a model's thresholds on normal scans",
        description="Set the thresholds of a model on the calibration scans of a data list; they go into its weights.",
        epilog="Other arguments override ids of calibrate.json and inference.json: --max_fraction 0.05, --min_scans 5.",
    )
    parser.add_argument("--model", required=True, metavar="MODEL.pt", help="weights that training wrote")
    parser.add_argument("--dataset_dir", required=True, help="folder of dataset.json")
    parser.set_defaults(run=_run, overrides=[])


def _run(arguments: argparse.Namespace) -> None:
    from ..bundle import run_bundle

    given = {"dataset_dir": arguments.dataset_dir, "output_dir": os.path.dirname(arguments.model) or "."}
    run_bundle(["inference.json", "calibrate.json"], given, arguments.overrides, arguments.model)
