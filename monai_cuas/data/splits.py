# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Seeded splits by subject, written to a file that can be shipped and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monai_cuas.utils import CUASError, write_json

__all__ = ["LESION_PARTS", "PARTS", "RECIPES", "Recipe", "load_split", "part_sizes", "save_split", "split_subjects"]

PARTS = ("training", "calibration", "validation", "test_normal")
LESION_PARTS = ("training", "calibration", "validation", "test_lesion")


class Recipe(NamedTuple):
    """A split that a paper used.

    Args:
        fractions: shares, or whole numbers of subjects.
        parts: what they are for; with "test_lesion" among them, patients are trained on by their lesion-free slices.
        text: where it is from.
    """

    fractions: tuple[float, ...]
    parts: tuple[str, ...]
    text: str


RECIPES = {
    # 271/32/32; of the 32 for validation half choose the epoch, half set the threshold.
    "brats2019_paper": Recipe(
        (271, 16, 16, 32), LESION_PARTS, "271 patients train, 32 validate (half of them calibrate), 32 test"
    ),
    "ct_ich_paper": Recipe(
        (0.7, 0.2, 0.1, 0.0), PARTS, "patients without haemorrhage train, calibrate and validate, those with it test"
    ),
}


def part_sizes(n: int, fractions: Sequence[float]) -> list[int]:
    """Share ``n`` subjects by largest remainder; each part with a share gets one at least, if there are enough.

    Args:
        n: number of subjects.
        fractions: shares, summing to 1; or whole numbers of subjects, summing to at most ``n``.

    Raises:
        CUASError: the shares are negative, do not sum to 1, or are more subjects than there are.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.size == 0 or not np.all(np.isfinite(shares)) or np.any(shares < 0) or shares.sum() == 0:
        raise CUASError(f"The split {list(fractions)} is not a list of shares; give shares that sum to 1.")
    if np.all(shares == np.round(shares)) and shares.sum() > 1:
        if shares.sum() > n:
            raise CUASError(f"The split asks for {int(shares.sum())} subjects, but there are {n}; ask for fewer.")
        return [int(share) for share in shares]
    if abs(shares.sum() - 1) > 1e-6:
        raise CUASError(f"The shares of the split sum to {shares.sum():g}; they must sum to 1.")
    exact = shares * n
    sizes = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-np.round(exact - sizes, 9), kind="stable")  # rounded: of equal remainders the first part wins
    for index in order[: n - int(sizes.sum())]:
        sizes[index] += 1
    while np.any((sizes == 0) & (shares > 0)) and sizes.max() > 1:
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmax((sizes == 0) & (shares > 0))] += 1
    return [int(size) for size in sizes]


def split_subjects(
    subjects: Iterable[str], fractions: Sequence[float], parts: Sequence[str] = PARTS, seed: int = 0
) -> dict[str, list[str]]:
    """Split subjects at random; the result depends on the set of names and the seed alone, not on their order.

    Args:
        subjects: names; doubles count once.
        fractions: one share (or whole number) per part.
        parts: names of the parts.
        seed: of the shuffle.

    Raises:
        CUASError: the numbers of shares and parts differ, or the shares do not fit.
    """
    if len(fractions) != len(parts):
        raise CUASError(f"The split has {len(fractions)} shares, but there are {len(parts)} parts: {', '.join(parts)}.")
    names = sorted(set(subjects))
    sizes = part_sizes(len(names), fractions)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    ends = np.cumsum(sizes)
    return {part: sorted(shuffled[end - size : end]) for part, size, end in zip(parts, sizes, ends)}


def save_split(split: dict[str, list[str]], path: str | os.PathLike, seed: int | None = None) -> None:
    """Write a split as JSON: ``{"seed": 0, "subjects": {"training": [...], ...}}``."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"seed": seed, "subjects": split})


def load_split(path: str | os.PathLike) -> dict[str, list[str]]:
    """Read a split back.

    Raises:
        CUASError: the file is no split, or a subject is in two parts.
    """
    try:
        split = json.loads(Path(path).read_text(encoding="utf-8"))["subjects"]
        split = {str(part): [str(name) for name in names] for part, names in split.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CUASError(f"{path}: not a split file; write one by the datalist command with --split_file.") from error
    seen: dict[str, str] = {}
    for part, names in split.items():
        for name in names:
            if seen.setdefault(name, part) != part:
                raise CUASError(f"{path}: subject '{name}' is in both {seen[name]} and {part}; keep it in one.")
    return split
