# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``monai_cuas infer``: map and mask of new scans; a front of the bundle's inference.json."""

from __future__ import annotations

import argparse
import csv
import os
from typing import Any

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "infer",
        allow_abbrev=False,
        help="find lesions in new scans",
        description="Write map, mask and picture of each scan and a row in results.csv, in the scan's own grid.",
        epilog="Other arguments override ids of the bundle's inference.json: --guarantee true, --device cpu.",
    )
    parser.add_argument("scans", nargs="+", metavar="SCAN", help="scan, folder of scans, or DICOM folder")
    parser.add_argument("--output_dir", required=True, help="folder for the results")
    parser.add_argument(
        "--model", metavar="MODEL", help="weights file, or shipped weights by name (default: by contrast)"
    )
    parser.add_argument(
        "--contrast",
        # as users write it: FLAIR, T1
        type=str.lower,
        choices=["auto", "flair", "t1", "t2", "ct"],
        help="which shipped weights fit (default: auto, by file name, BIDS or DICOM header)",
    )
    parser.add_argument("--rate", type=float, default=0.01, help="share of healthy voxels that may be found (0.01)")
    parser.add_argument(
        "--brain_extraction",
        choices=["auto", "none", "given", "hd-bet", "head-ct"],
        help="for scans with skull (default: the model's, or auto: where a scan is not stripped)",
    )
    parser.add_argument("--min_component_ml", type=float, default=0.0, help="leave out smaller findings")
    parser.add_argument("--skip_existing", action="store_true", help="leave out scans that are done")
    parser.add_argument("--dicom_seg", action="store_true", help="also write a DICOM SEG for each DICOM series")
    parser.add_argument("--dicom_map", action="store_true", help="with it the map as a DICOM parametric map")
    parser.add_argument(
        "--dicom_painted", action="store_true", help="with it the map painted on the scan, for any viewer"
    )
    parser.set_defaults(run=_run, overrides=[])


def _run(arguments: argparse.Namespace) -> None:
    from ..bundle import run_bundle
    from ..utils import CUASError, user_message

    if arguments.model and arguments.contrast:
        raise CUASError("--contrast chooses among the shipped weights, and --model names them: give one of the two.")
    settings = {
        "output_dir": arguments.output_dir,
        "rate": arguments.rate,
        "min_component_ml": arguments.min_component_ml,
        "skip_existing": arguments.skip_existing,
    }
    files = ["inference.json"]
    if arguments.dicom_seg or arguments.dicom_map or arguments.dicom_painted:
        files.append("dicom_seg.json")
        settings["dicom_seg_parametric_map"] = arguments.dicom_map
        settings["dicom_seg_painted"] = arguments.dicom_painted
    failures = []
    for model, scans in _shared_out(arguments):
        try:
            given = {**settings, "input": scans, "brain_extraction": arguments.brain_extraction or _extraction(model)}
            run_bundle(files, given, arguments.overrides, model)
        except Exception as error:
            message = user_message(error)
            if message is None:
                raise
            # the scans of the other weights go on
            failures.append(message)
    _say_end(arguments.output_dir)
    if failures:
        raise CUASError("\n".join(dict.fromkeys(failures)))


def _say_end(output_dir: str) -> None:
    """Three lines: scans of the folder, as its report has them, those with something found, and where the report is."""
    report, tables = os.path.join(output_dir, "report.html"), []
    for name in ("results.csv", "failures.csv"):
        path = os.path.join(output_dir, name)
        rows: list[dict[str, str]] = []
        if os.path.isfile(path):
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        tables.append(rows)
    if not os.path.isfile(report):
        return
    done, failed = tables[0], [row for row in tables[1] if row.get("problem")]
    print(f"Scans in the folder: {len(done)}" + (f", and {len(failed)} that failed" if failed else ""))
    print(f"With something found: {sum(row.get('components') not in ('', '0', None) for row in done)}")
    print(f"Report: {report}")


def _extraction(model: str) -> str | None:
    """ "auto" for a model of stripped scans, so that one with skull is taken too; None: as the model says."""
    from ..bundle import find_bundle_root
    from ..recipe import read_recipe
    from ..shipped import weights_path

    kept = read_recipe(weights_path(model, find_bundle_root())).preprocessing
    return "auto" if kept.get("brain_extraction") == "none" and not kept.get("pictures") else None


def _shared_out(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    """Weights, and the scans that they are for, which is said."""
    from ..bundle import find_bundle_root, parse_overrides
    from ..bundle.choice import choose_models
    from ..data.scans import scan_datalist
    from ..shipped import shipped_weights

    given = [os.path.abspath(scan) if os.path.exists(scan) else scan for scan in arguments.scans]
    if arguments.model:
        return [(arguments.model, given[0] if len(given) == 1 else given)]
    asked = parse_overrides(arguments.overrides)
    search = {key: asked[key] for key in ("dicom_where", "dicom_min_slices") if key in asked}
    entries = scan_datalist(given, **search)
    choices = choose_models(entries, shipped_weights(find_bundle_root()), arguments.contrast or "auto")
    for choice in choices:
        print(choice.why)
        for note in dict.fromkeys(note for scan in choice.scans for note in scan.get("image_notes", ())):
            print(f"  note: {note}")
    return [(choice.model, choice.scans) for choice in choices]
