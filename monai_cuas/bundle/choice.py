# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which of the shipped weights a scan gets, by its contrast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from monai.utils import ensure_tuple

from ..data.contrast import CONTRASTS, Contrast, contrast_of, label
from ..shipped import DEFAULT_MODEL
from ..utils import CUASError

__all__ = ["Choice", "choose_models", "model_of"]


class Choice(NamedTuple):
    """
    Scans that get one model.

    Args:
        model: name of the weights.
        scans: entries of a data list, with notes where the choice is doubtful.
        why: one sentence for people.
    """

    model: str
    scans: list[dict[str, Any]]
    why: str


def model_of(contrast: Contrast, shipped: Collection[str], otherwise: str = DEFAULT_MODEL) -> tuple[str, str]:
    """
    Name of the weights for a contrast, and what is doubtful about it.

    Args:
        contrast: the scan's.
        shipped: names of the weights that there are.
        otherwise: name of the weights that are taken where none fit.

    Returns:
        The name, and a note without full stop; empty if the weights fit.
    """
    if contrast.name in shipped:
        return str(contrast.name), f"taken for {label(contrast.name)}, but {contrast.doubt}" if contrast.doubt else ""
    default = otherwise == DEFAULT_MODEL
    used = f"the weights '{otherwise}' were used{', which know no patient' if default else ''}"
    if contrast.name is None:
        known = ", ".join(name for name in CONTRASTS if name in shipped)
        advice = f": say --contrast ({known})" if known and default else ""
        return otherwise, f"its contrast could not be told ({contrast.why}), so {used}{advice}"
    there = "are shipped" if default else "are there"
    return otherwise, f"no weights for {label(contrast.name)} {there}, so {used}: train on your own normal scans"


def choose_models(
    entries: Sequence[Mapping[str, Any]], shipped: Collection[str], contrast: str = "auto"
) -> list[Choice]:
    """
    Share scans out to the weights that fit.

    Args:
        entries: of a data list.
        shipped: names of the weights that there are.
        contrast: of all scans; "auto": each one's own is told by :func:`contrast_of`.

    Raises:
        CUASError: if the contrast is none of :data:`CONTRASTS`.
    """
    if contrast not in ("auto", *CONTRASTS):
        raise CUASError(f"There is no contrast '{contrast}'; choose from auto, {', '.join(CONTRASTS)}.")
    scans: dict[str, list[dict[str, Any]]] = {}
    reasons: dict[str, Counter[str]] = {}
    for entry in entries:
        given = Contrast(contrast, "as --contrast says")
        found = contrast_of(ensure_tuple(entry["image"])[0]) if contrast == "auto" else given
        model, note = model_of(found, shipped)
        notes = {"image_notes": [*entry.get("image_notes", ()), note]} if note else {}
        scans.setdefault(model, []).append({**entry, **notes})
        reasons.setdefault(model, Counter())[f"{label(found.name)}: {found.why}"] += 1
    return [Choice(model, found, _sentence(model, reasons[model])) for model, found in scans.items()]


def _sentence(model: str, reasons: Counter[str]) -> str:
    count = sum(reasons.values())
    told = "; ".join(f"{reason} ({n})" if len(reasons) > 1 else reason for reason, n in reasons.most_common())
    return f"model {model} for {count} scan{'s' if count > 1 else ''} ({told})"
