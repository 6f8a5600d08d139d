# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Command line with subcommands; each lives in its own module of :mod:`monai_cuas.commands`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from . import __version__, commands
from .utils import user_message

__all__ = ["build_parser", "console", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Parser with every module of :mod:`monai_cuas.commands` as a subcommand.

    A module there offers ``add_parser(subparsers)``, which sets ``run`` (a function of the parsed arguments that
    returns None or an exit code) as a default of its parser.
    """
    parser = argparse.ArgumentParser(prog="monai_cuas", description="Find brain lesions with a model of normal scans.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
        importlib.import_module(f"{commands.__name__}.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error that is the input's fault becomes one sentence on stderr and exit code 1."""
    parser = build_parser()
    parsed, rest = parser.parse_known_args(arguments)
    # a command that takes overrides of a config has its own way to check them
    if rest and not hasattr(parsed, "overrides"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides = rest
    try:
        return int(parsed.run(parsed) or 0)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 1


def console() -> None:
    """Entry point of the command ``monai_cuas``."""
    sys.exit(main())
