# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""MSLUB: ``patientNN/{FLAIR,T1W,T2W,consensus_gt}.nii.gz``, multiple sclerosis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import ReadReport, ScanEntry, find_scan, folder_of, sequence_names, subfolders, take_sequences

__all__ = ["detect_mslub", "read_mslub"]

_FILES = {"flair": "FLAIR", "t1": "T1W", "t2": "T2W", "t1ks": "T1WKS"}


def detect_mslub(folder: Path) -> bool:
    """Tell whether a subfolder holds a consensus mask."""
    return any(find_scan(sub, "consensus_gt") for sub in subfolders(folder))


def read_mslub(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read an MSLUB folder; every patient has lesions.

    Args:
        folder: folder of patient folders.
        sequences: of flair, t1, t2, t1ks; default flair.

    Raises:
        CUASError: nothing fits.
    """
    report = ReadReport("mslub", folder_of(folder))
    names = sequence_names(sequences, _FILES, "flair", "mslub")
    for sub in subfolders(report.folder):
        found = {key: path for key, stem in _FILES.items() if (path := find_scan(sub, stem))}
        images = take_sequences(report, sub, found, names)
        if images:
            label = find_scan(sub, "consensus_gt")
            if label is None:
                report.warnings.append(f"{sub.name} has no consensus_gt mask.")
            report.add(ScanEntry(images, sub.name, "lesion", label, extra={"kind": "ms"}))
    return report.required("patientNN/FLAIR.nii.gz with consensus_gt.nii.gz")
