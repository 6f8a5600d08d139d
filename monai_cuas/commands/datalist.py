# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas datalist``: turn a folder of scans into a dataset.json, split by subject."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.readers import ReadReport, ScanEntry

__all__ = ["add_parser"]

_SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "datalist",
        help="turn a folder of scans into a dataset.json",
        description="Turn a folder of scans into a dataset.json, split by subject; nothing is copied (docs/data.md).",
    )
    parser.add_argument("--input", required=True, help="folder of scans")
    parser.add_argument("--layout", default="auto", help="layout of the folder (default: auto)")
    parser.add_argument("--output", required=True, help="dataset.json to write")
    parser.add_argument("--role", default="auto", choices=("normal", "lesion", "auto"), help="what the scans are")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="sequences of a subject, used as channels")
    parser.add_argument(
        "--split",
        nargs=4,
        type=float,
        default=(0.55, 0.2, 0.1, 0.15),
        metavar=("TRAIN", "CALIB", "VALID", "TEST"),
        help="shares, or whole numbers, of normal subjects (default: 0.55 0.2 0.1 0.15)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--split_file", help="split to use; written if it does not exist yet")
    parser.add_argument("--test_lesions", help="another folder, of scans with lesions, to test on")
    parser.add_argument("--test_layout", default="auto", help="its layout (default: auto)")
    parser.add_argument("--test_sequences", nargs="+", metavar="NAME", help="its sequences (default: --sequences)")
    parser.set_defaults(run=_run)


def _describe(report: ReadReport) -> None:
    print(f"{report.folder}: layout {report.layout}, {len(report.entries)} scans found.")
    for warning in report.warnings:
        print(f"  warning: {warning}")
    for path, reason in report.left_out[:_SHOWN]:
        print(f"  left out: {path}: {reason}")
    if len(report.left_out) > _SHOWN:
        print(f"  ... and {len(report.left_out) - _SHOWN} more left out")


def _split(arguments: argparse.Namespace, subjects: list[str]) -> dict[str, list[str]]:
    from ..data.splits import load_split, save_split, split_subjects

    if arguments.split_file and Path(arguments.split_file).exists():
        return load_split(arguments.split_file)
    split = split_subjects(subjects, arguments.split, seed=arguments.seed) if subjects else {}
    if arguments.split_file:
        save_split(split, arguments.split_file, arguments.seed)
    return split


def _read(folder: str, layout: str, role: str, sequences: list[str] | None) -> tuple[ReadReport, list[ScanEntry]]:
    from ..data.datalist import settle_roles
    from ..data.readers import read_layout

    report = read_layout(folder, layout, **({"sequences": sequences} if sequences else {}))
    return report, settle_roles(report, role)


def _run(arguments: argparse.Namespace) -> None:
    from ..data.datalist import assign_parts, write_datalist
    from ..utils import CUASError

    report, entries = _read(arguments.input, arguments.layout, arguments.role, arguments.sequences)
    reports = [report]
    if arguments.test_lesions:
        names = arguments.test_sequences or arguments.sequences
        test_report, lesions = _read(arguments.test_lesions, arguments.test_layout, "lesion", names)
        reports.append(test_report)
        channels = {len(entry.images) for entry in [*entries, *lesions]}
        if len(channels) > 1:
            raise CUASError(f"The two folders give {sorted(channels)} channels; ask for as many --test_sequences.")
        entries = [*entries, *lesions]
    diseased = {entry.subject for entry in entries if entry.role == "lesion"}
    normal = [entry.subject for entry in entries if entry.role == "normal" and entry.subject not in diseased]
    split = _split(arguments, normal)
    known = {subject for subjects in split.values() for subject in subjects}
    for entry in report.entries:
        if entry.role == "normal" and entry.subject not in known | diseased:
            report.leave_out(entry.images[0], "its subject is not in the split")
    for found in reports:
        _describe(found)
    lists = assign_parts(entries, split)
    if not any(lists.values()):
        raise CUASError(f"{arguments.input}: no scan is left for {arguments.output}; see what was left out above.")
    name = Path(arguments.input).resolve().name
    sequences = arguments.sequences or ["scan"]
    write_datalist(lists, arguments.output, name, f"layout {report.layout}, seed {arguments.seed}", sequences)
    print(f"{arguments.output}: " + ", ".join(f"{len(part)} {key}" for key, part in lists.items()))
