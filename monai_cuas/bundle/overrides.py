# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Catch a misspelt override: MONAI's runner adds an unknown top-level id to the config and ignores it."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser

from ..recipe import contradiction, read_recipe
from ..utils import CUASError

__all__ = ["check_overrides", "missing_base", "parse_overrides", "refuse_unknown", "unknown_ids", "with_bases"]

_PYTHON_WORDS = {"false": "False", "null": "None"}
_RUN_ARGUMENTS = frozenset(inspect.signature(monai.bundle.run).parameters)


def _split_arguments(argv: Sequence[str]) -> dict[str, str]:
    """Read ``--key value`` and ``--key=value`` pairs as python-fire does; positional arguments are skipped."""
    pairs, position = {}, 0
    while position < len(argv):
        argument = argv[position]
        position += 1
        if not argument.startswith("--"):
            continue
        key, separator, value = argument[2:].partition("=")
        if not separator and position < len(argv) and not argv[position].startswith("--"):
            value = argv[position]
            position += 1
        pairs[key] = value
    return pairs


def _as_files(value: str) -> list[str]:
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        # fire also takes a list without quotes around its members
        parsed = [part.strip() for part in value.strip("[]()").split(",")]
    return [parsed] if isinstance(parsed, str) else [str(part) for part in parsed]


def _top_level(key: str) -> str:
    return re.split(r"#|::", key.lstrip("+"))[0]


def unknown_ids(config_files: Sequence[str], overrides: Sequence[str]) -> dict[str, str | None]:
    """
    Find overrides that no part of the config would ever read.

    An id is known if one of the bundle's own files defines it, or if anything refers to it by ``@id`` or ``%id``.
    The first file, and the files beside or below it, are the bundle's own; other files are the user's overlays, whose
    ids are checked like the overrides of the command line.

    Args:
        config_files: the files given to the runner, base first.
        overrides: the keys of the overrides, such as ``train#trainer#max_epochs``.

    Returns:
        Each unknown id with the closest known one, or None if none is close.
    """
    # of a checkout, the package's bundle is a link
    folder = os.path.dirname(os.path.realpath(config_files[0]))
    own = [f for f in config_files if os.path.realpath(f).startswith(folder + os.sep)]
    known = {_top_level(key) for f in own for key in ConfigParser.load_config_file(f)}
    foreign = [f for f in config_files if f not in own]
    asked = [*overrides, *(key for f in foreign for key in ConfigParser.load_config_file(f))]
    text = json.dumps([ConfigParser.load_config_file(f) for f in config_files])
    # "base" is read before the runner is
    known |= {"base", *re.findall(r"[@%]([A-Za-z_]\w*)", text)}
    unknown = dict.fromkeys(_top_level(key) for key in asked if _top_level(key) not in known)
    return {key: next(iter(difflib.get_close_matches(key, known, n=1)), None) for key in unknown}


def _base_of(file: str, methods: str | None) -> str | None:
    """The file that a config builds on: beside it, or else among the bundle's methods; None if it builds on none."""
    base = ConfigParser.load_config_file(file).get("base")
    if base is None:
        return None
    beside = os.path.normpath(os.path.join(os.path.dirname(file), base))
    shipped = os.path.join(methods or os.path.dirname(file), base)
    return shipped if os.path.isfile(shipped) and not os.path.isfile(beside) else beside


def missing_base(config_files: Sequence[str]) -> tuple[str, str] | None:
    """
    A file that builds on another one which does not come before it.

    Returns:
        The file and its base's path; None if all is there.
    """
    methods = os.path.join(os.path.dirname(config_files[0]), "methods")
    seen: set[str] = set()
    for file in config_files:
        base = _base_of(file, methods)
        if base is not None and os.path.abspath(base) not in seen:
            return file, base
        seen.add(os.path.abspath(file))
    return None


def with_bases(file: str, methods: str | None = None) -> list[str]:
    """
    A config file behind the files that it builds on, the first of them first.

    Args:
        file: the config.
        methods: folder of the bundle's methods, where the base of a user's own file is looked for if it is not
            beside it.

    Raises:
        CUASError: if a base is not there.
    """
    base = _base_of(file, methods)
    if base is None:
        return [file]
    if not os.path.isfile(base):
        raise CUASError(f'{file} builds on {base}, which is not there; give "base" relative to the file.')
    return [*with_bases(base, methods), file]


def _refuse_contradictions(ckpt_path: str, asked: dict[str, Any]) -> list[str]:
    """Names of the recipe's that are asked for; CUASError if with other values."""
    recipe = read_recipe(ckpt_path)
    for name, (value, kept) in recipe.contradictions(asked).items():
        raise CUASError(contradiction(ckpt_path, name, value, kept))
    return [name for name in asked if name in recipe.settings]


def _as_value(text: Any) -> Any:
    """A command line's value as python-fire reads it."""
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError):
        return text


def check_overrides(argv: Sequence[str] | None = None, ckpt_path: str | os.PathLike | None = None) -> None:
    """
    Refuse overrides of ``python -m monai.bundle run`` that would be ignored in silence.

    Args:
        argv: the command line, ``sys.argv`` by default. Anything but MONAI's bundle runner passes unchecked: there the
            overrides are Python keyword arguments, out of this function's sight.
        ckpt_path: the weights file whose recipe holds for this run; what it says may be said again, not otherwise.

    Raises:
        CUASError: naming each unknown id and the closest known one; for a setting that contradicts the recipe; for a
            file without the one that it builds on; or for the words ``false`` and ``null``, which python-fire hands on
            as text, and text counts as true.
    """
    argv = sys.argv if argv is None else argv
    if not argv or os.path.join("monai", "bundle") not in argv[0] or "run" not in argv[1:2]:
        return
    pairs: dict[str, Any] = _split_arguments(argv[2:])
    for key, value in pairs.items():
        if value in _PYTHON_WORDS:
            word = _PYTHON_WORDS[value]
            raise CUASError(f"'--{key} {value}' would be text, which counts as true; write '--{key} {word}'.")
    if "args_file" in pairs:
        pairs = {**ConfigParser.load_config_file(pairs["args_file"]), **pairs}
    files = pairs.get("config_file", [])
    files = _as_files(files) if isinstance(files, str) else list(files)
    refuse_unknown(files, {key: v for key, v in pairs.items() if key not in _RUN_ARGUMENTS}, ckpt_path)


def refuse_unknown(
    files: Sequence[str], pairs: Mapping[str, Any], ckpt_path: str | os.PathLike | None = None
) -> dict[str, Any]:
    """
    Refuse overrides that would do nothing or contradict the recipe.

    Args:
        files: the configs, base first.
        pairs: overrides by id; text is read as Python's values where it can be.
        ckpt_path: the weights file whose recipe holds for this run; None: none yet.

    Returns:
        The overrides without those that say again what the recipe says.

    Raises:
        CUASError: see :func:`check_overrides`.
    """
    lacking = missing_base(files)
    if lacking is not None:
        raise CUASError(f"{lacking[0]} builds on {lacking[1]}; name that file before it in --config_file.")
    unknown = unknown_ids(files, list(pairs)) if files else {}
    told: list[str] = []
    if ckpt_path is not None and files:
        # what inference may say is what its own config has; an overlay beside it may be meant for the training
        own = ConfigParser.load_config_file(files[0])
        sources = [*(ConfigParser.load_config_file(f) for f in files[1:]), pairs]
        said = {key: _as_value(value) for source in sources for key, value in source.items()}
        told = _refuse_contradictions(str(ckpt_path), {k: v for k, v in said.items() if k not in own})
        unknown = {key: near for key, near in unknown.items() if key not in told}
    if unknown:
        hints = [f"'{key}'" + (f" (did you mean '{near}'?)" if near else "") for key, near in unknown.items()]
        raise CUASError(
            f"The config has no id {', '.join(hints)}, so this override would do nothing; "
            f"the ids are the top-level keys of {', '.join(files)}."
        )
    return {key: value for key, value in pairs.items() if key not in told}


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """
    Read ``--key value`` and ``--key=value`` pairs.

    Raises:
        CUASError: for anything else.
    """
    pairs: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        key, separator, value = rest.pop(0).partition("=")
        if not key.startswith("--") or len(key) < 3 or not (separator or rest):
            raise CUASError(f"The argument '{key}' cannot be read; overrides are pairs such as --epochs 2.")
        pairs[key[2:]] = _literal(value if separator else rest.pop(0))
    return pairs


def _literal(text: str) -> Any:
    """A number, list, true, false or null where it reads as one; the text itself otherwise."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text
