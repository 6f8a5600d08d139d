# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas phantom``: make a phantom cohort."""

from __future__ import annotations

import argparse

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand; what it runs is imported only when it runs."""
    parser = subparsers.add_parser("phantom", help="make a cohort of synthetic scans, healthy and with lesions")
    parser.add_argument("--output_dir", required=True, help="folder of the cohort")
    parser.add_argument("--normals", type=int, default=60, help="healthy subjects (default %(default)s)")
    parser.add_argument("--lesions", type=int, default=20, help="subjects with lesions (default %(default)s)")
    parser.add_argument("--contrast", default="flair", help="flair, t1, t2 or ct (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size in mm (default %(default)s)")
    parser.add_argument("--thick_slices", action="store_true", help="slices two or three times as thick")
    parser.add_argument("--oblique", action="store_true", help="turn the scan's axes against the world's")
    parser.add_argument("--lesion_kinds", nargs="+", help="kinds to make (default: all)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from ..data.phantom import LESION_KINDS, make_phantom_cohort

    path = make_phantom_cohort(
        args.output_dir, args.normals, args.lesions, args.contrast, args.seed, args.spacing,
        thick_slices=args.thick_slices, oblique=args.oblique, lesion_kinds=args.lesion_kinds or LESION_KINDS,
    )  # fmt: skip
    print(path)
    return 0
