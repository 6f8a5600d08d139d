# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas train``: train on normal scans; a front of the bundle's train.json."""

from __future__ import annotations

import argparse
import os

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        allow_abbrev=False,
        help="train a model on normal scans",
        description="Train on the normal scans of a data list, set the threshold on others of them, and write masks "
        "and figures of the test scans. Without a data list, a phantom cohort is made first.",
        epilog="Other arguments override ids of the bundle's train.json: --iterations 8000, --intensity_weight 0.",
    )
    parser.add_argument("--dataset_dir", help="folder of dataset.json (monai_cuas datalist writes one)")
    parser.add_argument("--output_dir", help="folder for the run")
    parser.add_argument("--method", default="synthetic_anomaly", help="method, by the name of its page in docs/methods")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (0)")
    parser.add_argument("--start_from", metavar="MODEL", help="fine-tune a model: a file, or a shipped name")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.set_defaults(run=_run, overrides=[])


def _run(arguments: argparse.Namespace) -> None:
    from ..bundle import method_overlays, run_bundle

    names = ("dataset_dir", "output_dir", "seed", "start_from")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    files = ["train.json", *method_overlays(arguments.method)]
    run_bundle(files, {**given, "resume": arguments.resume}, arguments.overrides, workflow_type="train")
    if arguments.output_dir:
        model = os.path.join(arguments.output_dir, "model.pt")
        print(f"{model}: ready, for example\n  monai_cuas infer SCAN --model {model} --output_dir RESULTS")
