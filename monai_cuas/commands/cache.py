# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas cache``: see, shrink or clear what runs keep on disk to be faster."""

from __future__ import annotations

import argparse
import os
import time

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "cache",
        help="see, shrink or clear the caches of runs",
        description="List the caches below folders (training slices, brain masks, bias fields), with their size. All "
        "in them can be made again; only files that a cache made are ever removed.",
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="a run's folder, or any above it (default: .)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--clear", action="store_true", help="remove all of it; no training should be using it")
    what.add_argument("--limit_gb", type=float, metavar="GB", help="remove the longest unused down to this size")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..utils import CUASError
    from ..utils.disk_cache import cached_files, find_caches, shrink_cache

    if arguments.limit_gb is not None and not arguments.limit_gb >= 0:
        raise CUASError(f"--limit_gb must be at least 0, and it is {arguments.limit_gb:g}.")
    roots = arguments.folders or ["."]
    missing = [root for root in roots if not os.path.isdir(root)]
    if missing:
        raise CUASError(f"{missing[0]}: there is no such folder; give that of a run, or one above it.")
    caches = list(dict.fromkeys(folder for root in roots for folder in find_caches(root)))
    for folder in caches:
        removed = 0
        if arguments.clear or arguments.limit_gb is not None:
            removed = len(shrink_cache(folder, 0.0 if arguments.clear else arguments.limit_gb, keep_used=False))
        files = cached_files(folder)
        last = time.strftime("%Y-%m-%d", time.localtime(files[-1].last_used)) if files else "-"
        size = sum(file.size for file in files) / 1e6
        print(f"{folder}: {size:.1f} MB in {len(files)} files, last used {last}; {removed} files removed")
    if not caches:
        print(f"no cache below {', '.join(roots)}")
    return 0
