# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas evaluate``: judge a model on scans with lesions; a front of the bundle's evaluate.json."""

from __future__ import annotations

import argparse

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        allow_abbrev=False,
        help="judge a model on scans with lesions",
        description="Figures of a model on the test scans of a data list, beside the intensity baselines.",
        epilog="Other arguments override ids of evaluate.json and inference.json: --rate 0.05, --erode_voxels 1.",
    )
    parser.add_argument("--model", required=True, metavar="MODEL", help="weights file, or shipped weights by name")
    parser.add_argument("--dataset_dir", required=True, help="folder of dataset.json")
    parser.add_argument("--output_dir", required=True, help="folder for tables and pictures")
    parser.set_defaults(run=_run, overrides=[])


def _run(arguments: argparse.Namespace) -> None:
    from ..bundle import run_bundle

    given = {"dataset_dir": arguments.dataset_dir, "output_dir": arguments.output_dir}
    run_bundle(["inference.json", "evaluate.json"], given, arguments.overrides, arguments.model)
