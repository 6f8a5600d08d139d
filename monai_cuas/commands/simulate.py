# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas simulate``: lesions in healthy scans of people."""

from __future__ import annotations

import argparse

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="put simulated lesions into normal test scans",
        description="Copy the second half of a data set's normal test scans with simulated lesions and exact masks; "
        "the new dataset.json keeps all other lists (docs/how-to/data.md).",
    )
    parser.add_argument("--dataset_dir", required=True, help="folder of dataset.json, with a list test_normal")
    parser.add_argument("--output_dir", required=True, help="folder for scans, masks and the new dataset.json")
    parser.add_argument("--modality", required=True, help="flair, t1, t2 or ct: what lesions look like")
    parser.add_argument("--copies", type=int, default=5, help="lesioned copies of each scan (default: 5)")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="lesion kinds, which take turns (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same lesions (default: 0)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    # Imported here: other commands must not wait for it.
    from ..phantom.simulation import simulate_lesion_dataset

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run") and v is not None}
    print(simulate_lesion_dataset(**options))
