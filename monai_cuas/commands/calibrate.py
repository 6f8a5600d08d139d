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
        description="Set the thresholds of a model on normal scans that took no part in its training: the calibration "
        "scans of a data list, or a folder of a scanner's own; they go into its weights, or into a new file.",
        epilog="Other arguments override ids of calibrate.json and inference.json: --max_fraction 0.05, --min_scans 5.",
    )
    parser.add_argument("--model", required=True, metavar="MODEL", help="weights of a training, or a shipped name")
    normals = parser.add_mutually_exclusive_group(required=True)
    normals.add_argument("--dataset_dir", help="folder of dataset.json")
    normals.add_argument("--normals", metavar="FOLDER", help="folder of normal scans, one of each subject, 5 or more")
    parser.add_argument("--output", metavar="NEW.pt", help="weights file to write (default: the file MODEL itself)")
    parser.set_defaults(run=_run, overrides=[])


def _run(arguments: argparse.Namespace) -> None:
    from ..bundle import find_bundle_root, run_bundle
    from ..shipped import not_shipped, weights_path
    from ..utils import require_writable

    weights = not_shipped(arguments.output or weights_path(arguments.model, find_bundle_root()))
    folder = os.path.dirname(weights) or "."
    require_writable(folder)
    normals = {"normals": arguments.normals} if arguments.normals else {"dataset_dir": arguments.dataset_dir}
    given = {**normals, "calibrated": weights, "output_dir": folder}
    run_bundle(["inference.json", "calibrate.json"], given, arguments.overrides, arguments.model)
