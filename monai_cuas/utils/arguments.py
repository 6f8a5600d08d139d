# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Objects that know what they were made with, so that a recipe can be read from them and is not told a second time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

__all__ = ["RecordsArguments", "as_plain"]

_PACKAGE = __name__.partition(".")[0]


# a few lines of a file may hold a list that holds itself, or ten times a list that holds ten times a list, and so on
_DEEPEST, _MOST = 20, 200_000


def as_plain(value: Any) -> Any:
    """
    A value as plain data: None, bool, int, float, str, lists and dictionaries of these.

    Raises:
        ValueError: for anything else, such as an object, and for more than a recipe can be: nested 20 times, or of
            200000 parts.
    """
    return _as_plain(value, iter(range(_MOST)), 0)


def _as_plain(value: Any, left: Iterator[int], depth: int) -> Any:
    if depth > _DEEPEST or next(left, None) is None:
        raise ValueError("it is nested too deeply, or has too many parts.")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _as_plain(part, left, depth + 1) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_as_plain(part, left, depth + 1) for part in value]
    raise ValueError(f"{type(value).__name__} is no plain data.")


class RecordsArguments:
    """
    Base of classes whose instances keep the arguments they were made with, by name, as ``arguments``.

    A subclass may hand on ``*args`` and ``**kwargs`` to its base as they are. Names in ``not_recorded`` tell of the
    machine or of the training, not of the result, and are left out.
    """

    if TYPE_CHECKING:  # TorchScript reads a class's annotations, and knows few types
        arguments: dict[str, Any]
    not_recorded = frozenset[str]()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        # torch's modules refuse attributes before their own __init__, and copies are made without arguments
        made.__dict__["arguments"] = {k: v for k, v in _named(cls, args, kwargs).items() if k not in cls.not_recorded}
        return made


def _named(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, with the defaults of this package's classes: a later version may have other ones."""
    names: list[str] = []
    defaults: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if base.__module__.startswith(_PACKAGE):
            defaults = {**{p.name: p.default for p in parameters if p.default is not p.empty}, **defaults}
        # what is handed on goes to the next base
        if not any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            break
    return {**defaults, **dict(zip(names, args)), **kwargs}
