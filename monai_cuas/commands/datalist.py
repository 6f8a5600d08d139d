# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas datalist``: turn a folder of scans into a dataset.json, split by subject."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.layouts import ReadReport, ScanEntry

__all__ = ["add_parser"]

_SHARES = (0.55, 0.2, 0.1, 0.15)
_SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "datalist",
        help="turn a folder of scans into a dataset.json",
        description="Turn a folder of scans into a dataset.json, split by subject; nothing is copied.",
    )
    parser.add_argument("--input", required=True, help="folder of scans")
    parser.add_argument("--layout", default="auto", help="layout of the folder, see below (default: auto)")
    parser.add_argument("--download", action="store_true", help="fetch the data into --input first (msd_task01 only)")
    parser.add_argument("--output", required=True, help="dataset.json to write")
    parser.add_argument("--role", default="auto", choices=("normal", "lesion", "auto"), help="what the scans are")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="sequences of a subject, used as channels")
    parser.add_argument(
        "--split",
        nargs=4,
        type=float,
        metavar=("TRAIN", "CALIB", "VALID", "TEST"),
        help="shares, or whole numbers, of normal subjects (default: 0.55 0.2 0.1 0.15)",
    )
    parser.add_argument("--recipe", metavar="NAME", help="a split of a paper instead, see below")
    parser.add_argument(
        "--lesion_free_slices",
        action="store_true",
        help="split patients too, to train on their slices without lesion (a mask is needed)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--split_file", help="split to use; written if it does not exist yet")
    parser.add_argument("--test_lesions", help="another folder, of scans with lesions, to test on")
    parser.add_argument("--test_layout", default="auto", help="its layout (default: auto)")
    parser.add_argument("--test_sequences", nargs="+", metavar="NAME", help="its sequences (default: --sequences)")
    parser.set_defaults(run=_run)
    plain_help = parser.format_help
    # Put together when asked for: the other commands need not wait for the readers' imports.
    parser.format_help = lambda: f"{plain_help()}\n{_tables()}"  # type: ignore[method-assign]


def _tables() -> str:
    """The layouts and recipes that there are."""
    from ..data.layouts import LAYOUTS
    from ..data.splits import RECIPES

    lines = ["layouts, in the order in which auto tries them:"]
    lines += [f"  {name:<11} {layout.shape}" for name, layout in LAYOUTS.items()]
    lines += ["", "recipes:", *(f"  {name:<16} {recipe.text}" for name, recipe in RECIPES.items())]
    return "\n".join(lines) + "\n"


def _describe(report: ReadReport) -> None:
    print(f"{report.folder}: layout {report.layout}, {len(report.entries)} scans found.")
    for warning in report.warnings:
        print(f"  warning: {warning}")
    for path, reason in report.left_out[:_SHOWN]:
        print(f"  left out: {path}: {reason}")
    if len(report.left_out) > _SHOWN:
        print(f"  ... and {len(report.left_out) - _SHOWN} more left out")


def _split(arguments: argparse.Namespace, entries: Sequence[ScanEntry]) -> dict[str, list[str]]:
    """The split that is asked for: read, or made and written."""
    from ..data.splits import LESION_PARTS, PARTS, RECIPES, load_split, save_split, split_subjects
    from ..utils import CUASError

    if arguments.split_file and Path(arguments.split_file).exists():
        return load_split(arguments.split_file)
    if arguments.recipe and arguments.recipe not in RECIPES:
        raise CUASError(f"Unknown recipe '{arguments.recipe}'; choose from {', '.join(RECIPES)}.")
    if arguments.recipe and arguments.split:
        raise CUASError("Give either --split or --recipe, not both.")
    if arguments.recipe:
        fractions, parts, _ = RECIPES[arguments.recipe]
    else:
        fractions = tuple(arguments.split or _SHARES)
        parts = LESION_PARTS if arguments.lesion_free_slices else PARTS
    if not arguments.recipe and not arguments.split and any(e.part == "test" and e.role == "normal" for e in entries):
        # The layout has normal scans for the test: the rest is shared out.
        fractions = (*(share / sum(_SHARES[:3]) for share in _SHARES[:3]), 0.0)
    out = {entry.subject for entry in entries if entry.part == "test" or _unusable(entry, parts)}
    subjects = {entry.subject for entry in entries} - out
    split = split_subjects(subjects, fractions, parts, arguments.seed) if subjects else {}
    if arguments.split_file:
        save_split(split, arguments.split_file, arguments.seed)
    return split


def _unusable(entry: ScanEntry, parts: Sequence[str]) -> bool:
    """Whether a scan keeps its subject out of the split."""
    return entry.role == "lesion" and ("test_lesion" not in parts or entry.label is None)


def _read(
    folder: str, layout: str, role: str, sequences: list[str] | None, download: bool = False
) -> tuple[ReadReport, list[ScanEntry]]:
    from ..data.datalist import settle_roles
    from ..data.layouts import read_layout

    options = {**({"sequences": sequences} if sequences else {}), **({"download": True} if download else {})}
    report = read_layout(folder, layout, **options)
    return report, settle_roles(report, role)


def _run(arguments: argparse.Namespace) -> None:
    from ..data.datalist import assign_parts, write_datalist
    from ..utils import CUASError

    report, entries = _read(arguments.input, arguments.layout, arguments.role, arguments.sequences, arguments.download)
    reports = [report]
    if arguments.test_lesions:
        names = arguments.test_sequences or arguments.sequences
        test_report, lesions = _read(arguments.test_lesions, arguments.test_layout, "lesion", names)
        reports.append(test_report)
        channels = {len(entry.extra.get("image_channels", entry.images)) for entry in [*entries, *lesions]}
        if len(channels) > 1:
            raise CUASError(f"The two folders give {sorted(channels)} channels; ask for as many --test_sequences.")
        for entry in lesions:
            entry.part = "test"
        entries = [*entries, *lesions]
    lists = assign_parts(entries, _split(arguments, entries))
    placed = {id(entry) for part in lists.values() for entry in part}
    for entry in entries:
        if id(entry) not in placed:
            unmasked = entry.role == "lesion" and entry.label is None
            why = (
                "a lesion without mask: its slices without lesion are not known"
                if unmasked
                else "its subject is not in the split"
            )
            report.leave_out(entry.images[0], why)
    for found in reports:
        _describe(found)
    if not any(lists.values()):
        raise CUASError(f"{arguments.input}: no scan is left for {arguments.output}; see what was left out above.")
    name = Path(arguments.input).resolve().name
    sequences = arguments.sequences or ["scan"]
    write_datalist(lists, arguments.output, name, f"layout {report.layout}, seed {arguments.seed}", sequences)
    print(f"{arguments.output}: " + ", ".join(f"{len(part)} {key}" for key, part in lists.items()))
