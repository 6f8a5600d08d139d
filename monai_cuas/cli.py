# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Command line: one subcommand for each module of :mod:`monai_cuas.commands`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from . import commands
from .utils import user_message

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Parser with all subcommands."""
    parser = argparse.ArgumentParser(prog="python -m monai_cuas", description=__import__("monai_cuas").__doc__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
        importlib.import_module(f"{commands.__name__}.{module}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; an error that is the input's fault is one sentence and exit code 2."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 2
