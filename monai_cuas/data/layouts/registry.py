# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The layouts by name, the most particular first, since that is the order in which they are tried."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from monai_cuas.utils import CUASError

from .base import ReadReport, folder_of
from .bids import detect_bids, read_bids
from .brats import detect_brats, read_brats
from .ct_ich import detect_ct_ich, read_ct_ich
from .ixi import detect_ixi, read_ixi
from .masks import claim_masks
from .msd import detect_msd, read_msd
from .mslub import detect_mslub, read_mslub
from .pictures import detect_images2d, detect_mvtec, read_images2d, read_mvtec
from .plain import detect_plain, read_plain
from .wmh import detect_wmh, read_wmh

__all__ = ["LAYOUTS", "Layout", "detect_layout", "read_layout"]


_PICTURES = ("mvtec", "images2d")


class Layout(NamedTuple):
    """A reader and the test that recognises its folder.

    Args:
        read: takes a folder and options, gives a report.
        detect: tells whether a folder looks like this layout.
        shape: what the folder looks like, in one line, for the help and for messages.
    """

    read: Callable[..., ReadReport]
    detect: Callable[[Path], bool]
    shape: str


def _brats(year: str, shape: str) -> Layout:
    return Layout(partial(read_brats, layout=year), partial(detect_brats, layout=year), shape)


LAYOUTS: dict[str, Layout] = {
    "ixi": Layout(read_ixi, detect_ixi, "IXI012-HH-1211-T1.nii.gz"),
    "mslub": Layout(read_mslub, detect_mslub, "patientNN/{FLAIR,T1W,T2W,consensus_gt}.nii.gz"),
    "wmh2017": Layout(read_wmh, detect_wmh, "{site}/<n>/pre/{FLAIR,T1}.nii.gz, {site}/<n>/wmh.nii.gz"),
    "brats2019": _brats("brats2019", "{HGG,LGG}/<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz (2017 to 2019)"),
    "brats2020": _brats("brats2020", "BraTS20_Training_001/<case>_{flair,t1,t1ce,t2,seg}.nii.gz"),
    "brats2021": _brats("brats2021", "BraTS2021_00000/<case>_{flair,t1,t1ce,t2,seg}.nii.gz"),
    "brats2023": _brats("brats2023", "BraTS-GLI-00000-000/<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz (and later)"),
    "msd_task01": Layout(read_msd, detect_msd, "Task01_BrainTumour/dataset.json, imagesTr/ (4 channels), labelsTr/"),
    "ct_ich": Layout(read_ct_ich, detect_ct_ich, "ct_scans/NNN.nii, masks/NNN.nii, hemorrhage_diagnosis_raw_ct.csv"),
    "mvtec": Layout(read_mvtec, detect_mvtec, "train/good, test/<kind>, ground_truth/<kind>/*_mask.png (pictures)"),
    "bids": Layout(read_bids, detect_bids, "sub-*/[ses-*/][anat/]*_{T1w,FLAIR,...}.nii.gz, masks in derivatives/"),
    "plain": Layout(read_plain, detect_plain, "NIfTI, NRRD, DICOM series folders; masks of the same name in labels/"),
    "images2d": Layout(read_images2d, detect_images2d, "PNG, JPEG, TIFF; masks of the same name in labels/"),
}


def detect_layout(folder: str | os.PathLike) -> str:
    """Return the name of the layout that the folder looks like.

    Raises:
        CUASError: the folder is missing or fits none.
    """
    path = folder_of(folder)
    for name, layout in LAYOUTS.items():
        if layout.detect(path):
            return name
    raise CUASError(f"{path}: the folder fits none of the layouts {', '.join(LAYOUTS)}; see docs/how-to/data.md.")


def read_layout(folder: str | os.PathLike, layout: str = "auto", **options: Any) -> ReadReport:
    """Read a folder.

    Args:
        folder: where the scans are.
        layout: a name of :data:`LAYOUTS`, or ``"auto"``.
        options: of the reader, such as ``sequences=["flair", "t1"]``.

    Returns:
        What was found (iterating gives the entries) and what was left out.

    Raises:
        CUASError: the layout is unknown, an option is not one of its reader, or the folder does not fit.
    """
    name = detect_layout(folder) if layout == "auto" else layout
    if name not in LAYOUTS:
        raise CUASError(f"Unknown layout '{name}'; choose from auto, {', '.join(LAYOUTS)}.")
    reader = LAYOUTS[name].read
    unknown = set(options) - set(inspect.signature(reader).parameters)
    if unknown:
        raise CUASError(f"The layout '{name}' has no option '{sorted(unknown)[0]}'.")
    report = reader(folder, **options)
    if name not in _PICTURES:
        claim_masks(report)
    return report
