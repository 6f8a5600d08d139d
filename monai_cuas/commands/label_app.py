# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas label-app``: write the folder that a MONAI Label server is started with."""

from __future__ import annotations

import argparse

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "label-app",
        help="write an app for a MONAI Label server",
        description="Write the folder that a MONAI Label server is started with (docs/how-to/hospital.md).",
    )
    parser.add_argument("--output", required=True, help="folder to make")
    parser.add_argument("--bundle", help="bundle to serve, with models/model.pt (default: the package's own)")
    parser.add_argument("--model", metavar="MODEL", help="weights file, or shipped weights by name (default: phantom)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from ..label.install import write_app

    folder = write_app(arguments.output, arguments.bundle, arguments.model)
    print(f"{folder}: ready. Start it with\n  python -m monai_cuas.label start_server --app {folder} --studies STUDIES")
