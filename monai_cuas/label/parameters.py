# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a request may say, route by route: names, types and bounds. Anything else is refused before anything is done."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .requests import SUFFIXES, check_id, check_tag, refuse

__all__ = ["PARAMETERS", "checked"]

_MAX_SECONDS = 120.0
_MAX_TEXT = 10_000
_CLIENT = re.compile(r"[\w.@ -]{0,128}")


def _number(low: float, high: float, inside: bool = False) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        # a number beyond what a float can hold is infinite here
        number = math.nan if isinstance(value, bool) or not isinstance(value, (int, float, str)) else _float(value)
        if not low <= number <= high or (inside and number in (low, high)):
            raise ValueError(f"a number {'between' if inside else 'from'} {low:g} {'and' if inside else 'to'} {high:g}")
        return number

    return check


def _float(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _one_of(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return value

    return check


def _tag(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a word")
    # what is final is a reader's word, and makes a scan count as read
    if check_tag(value) == "final":
        raise ValueError("another word than 'final', which is for a reader's label alone")
    return value


def _images(value: Any) -> str | list[str]:
    if isinstance(value, str) and value in ("all", "labeled", "unlabeled"):
        return value
    if not isinstance(value, list) or len(value) > 10_000 or not all(isinstance(name, str) for name in value):
        raise ValueError("'all', 'labeled', 'unlabeled' or a list of image ids")
    return [check_id(name) for name in value]


def _small_json(value: Any) -> Any:
    if not isinstance(value, (list, dict)) or len(json.dumps(value)) > _MAX_TEXT:
        raise ValueError(f"a JSON list or object of at most {_MAX_TEXT} characters")
    return value


def _client(value: Any) -> str | None:
    if value is None:  # what MONAI Label's own client sends without one
        return None
    if not isinstance(value, str) or not _CLIENT.fullmatch(value):
        raise ValueError("a short name")
    return value


_MASK: dict[str, Callable[[Any], Any]] = {
    "rate": _number(0, 1, inside=True),
    "threshold": _number(0, 50),
    "min_component_ml": _number(0, 3000),
    "result_extension": _one_of(*SUFFIXES),
    "result_compress": _flag,
    "save_label": _flag,
    "label_tag": _tag,
    "label_info": _small_json,
    "anomaly_map": _flag,
}

PARAMETERS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "infer": {**_MASK, "result": _one_of("mask", "anomaly"), "save_map": _flag, "save_painted": _flag},
    "batch": {**_MASK, "images": _images, "max_batch_size": _whole(0, 100_000)},
    "train": {"max_epochs": _whole(1, 10_000), "pretrained": _flag},
    "scoring": {},
    "next": {"seconds": _number(0, _MAX_SECONDS), "client_id": _client},
}
"""By route, the parameters that are taken and what checks each."""

# what MONAI Label's own clients and defaults send, and what means nothing here; it is dropped
_DROPPED = frozenset(
    {
        *("client_id", "description", "device", "gpus", "largest_cc", "logging", "max_workers", "model"),
        *(
            "multi_gpu",
            "name",
            "result_dtype",
            "restore_label_idx",
            "result_tag",
            "result_write_to_file",
            "strategy",
            "method",
        ),
        *("dataset", "val_split", "train_batch_size", "val_batch_size", "network", "tracking", "tracking_uri"),
        *("tracking_experiment_name", "dataset_source", "dataset_limit", "use_pretrained_model", "n_saved", "user"),
    }
)


def checked(route: str, params: Any) -> dict[str, Any]:
    """
    Take what a route knows of a request's parameters.

    Args:
        route: a key of :data:`PARAMETERS`.
        params: what came; None counts as nothing.

    Returns:
        The parameters that the route takes, each of its type and within its bounds.

    Raises:
        HTTPException: 400 with one sentence for a parameter that is not known or has a wrong value.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise refuse(400, "The parameters must be a JSON object.")
    known, taken = PARAMETERS[route], {}
    for name, value in params.items():
        if name in known:
            try:
                taken[name] = known[name](value)
            except ValueError as error:
                raise refuse(400, f"The parameter {name} must be {error}.") from None
        elif name not in _DROPPED:
            said = name if isinstance(name, str) and _CLIENT.fullmatch(name) else "of that name"
            raise refuse(
                400, f"The parameter {said} is not taken here; known are {', '.join(sorted(known)) or 'none'}."
            )
    return taken
