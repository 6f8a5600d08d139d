# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas bundle``: where the bundle is, or a copy of it to change."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "bundle",
        help="copy the MONAI bundle, to run or change its configs",
        description="Copy the bundle (configs, shipped weights, documents) that `python -m monai.bundle run` takes.",
    )
    parser.add_argument("--copy", metavar="DIR", required=True, help="new folder for the copy")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import shutil

    from ..shipped import packaged_bundle
    from ..utils import CUASError

    source, target = Path(packaged_bundle()), Path(arguments.copy)
    if target.exists() and any(target.iterdir()):
        raise CUASError(f"{target}: this folder is not empty; choose another.")
    target.mkdir(parents=True, exist_ok=True)
    for part in ("configs", "models", "docs"):
        shutil.copytree(source / part, target / part)
    shutil.copy(source / "LICENSE", target / "LICENSE")
    print(
        f"{target}: ready, for example\n  python -m monai.bundle run --config_file {target}/configs/inference.json "
        f"--bundle_root {target} --input SCAN --output_dir RESULTS"
    )
