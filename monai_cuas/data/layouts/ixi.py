# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""IXI: one flat folder, ``IXI012-HH-1211-T1.nii.gz``, healthy subjects, the site in the name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .base import ReadReport, ScanEntry, folder_of, sequence_names, take_sequences, walk_files

__all__ = ["detect_ixi", "read_ixi"]

_NAME = re.compile(r"^(IXI\d+)-([A-Za-z]+)-(\d+)(?:-([A-Za-z0-9]+))?\.nii(?:\.gz)?$")
_KNOWN = {"t1": 1, "t2": 1, "pd": 1, "mra": 1}


def detect_ixi(folder: Path) -> bool:
    """Tell whether a file in the folder is named as IXI names them."""
    return any(_NAME.match(p.name) for p in folder.iterdir())


def read_ixi(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read an IXI folder; a name without sequence (a stripped copy) counts as T1. Every scan is normal.

    Args:
        folder: flat folder of NIfTI files (one folder per sequence below it is fine too).
        sequences: of t1, t2, pd, mra; default t1.

    Raises:
        CUASError: nothing fits.
    """
    report = ReadReport("ixi", folder_of(folder))
    names = sequence_names(sequences, _KNOWN, "t1", "ixi")
    scans: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path in walk_files(report.folder, report):
        match = _NAME.match(path.name)
        if match is None:
            if ".nii" in path.name:
                report.leave_out(path, "not named like IXI012-HH-1211-T1.nii.gz")
            continue
        found = scans.setdefault((match[1], match[2], match[3]), {})
        sequence = (match[4] or "T1").lower()
        if sequence in found:
            report.leave_out(path, f"a second {sequence} of the same scan, {found[sequence].name} is used")
        else:
            found[sequence] = path
    for (subject, site, session), found in scans.items():
        where = report.folder / f"{subject}-{site}-{session}"
        images = take_sequences(report, where, found, names)
        if images:
            report.add(ScanEntry(images, subject, "normal", session=session, site=site))
    return report.required("files like IXI012-HH-1211-T1.nii.gz")
