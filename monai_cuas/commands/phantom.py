# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas phantom``: make a cohort of synthetic scans."""

from __future__ import annotations

import argparse

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "phantom",
        help="make a cohort of synthetic scans",
        description="Make a cohort of synthetic brain scans (NIfTI, BIDS-like) with a Decathlon-style dataset.json.",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the cohort")
    parser.add_argument("--normals", type=int, default=40, help="number of healthy subjects (default: 40)")
    parser.add_argument("--lesions", type=int, default=20, help="number of subjects with lesions (default: 20)")
    parser.add_argument("--contrast", default="flair", help="flair, t1, t2 or ct (default: flair)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size in mm (default: 2)")
    parser.add_argument("--thick_slices", action="store_true", help="average slices to some 5 to 6 mm")
    parser.add_argument("--oblique", action="store_true", help="turn each scan's axes by up to 20 degrees")
    parser.add_argument("--lesion_kinds", nargs="+", metavar="KIND", help="lesion kinds (default: all)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    # Imported here: other commands must not wait for, or need, what the phantom needs.
    from ..phantom import make_phantom_cohort

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run")}
    print(make_phantom_cohort(**options))
