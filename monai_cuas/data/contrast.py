# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which contrast a scan has, told without looking at the brain: name, BIDS suffix and sidecar, DICOM header."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from ..io.dicom.header import NotAnImage, is_dicom, read_header
from ..io.dicom.index import get_series, is_series_path
from ..utils import CUASError, scan_stem

__all__ = ["CONTRASTS", "Contrast", "contrast_named", "contrast_of", "contrast_of_header", "label"]

CONTRASTS = ("flair", "t1", "t2", "ct")
"""Those that weights may be shipped for."""

# By words of names and descriptions; others than CONTRASTS are known so that they are not taken for one of them.
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("flair", re.compile(r"\w*flair\w*|tirm|t2f|darkfluid")),
    ("t1ce", re.compile(r"t1(c|ce|gd|km|ks|post|wce|contrast)")),
    ("t1", re.compile(r"t1(w|n|wi|3d|weighted|vibe|tfe|se|spgr)?|\w*mprage|mp2rage|spgr|bravo")),
    ("t2*", re.compile(r"t2(star|s)w?|swi|gre|medic")),
    ("t2", re.compile(r"t2(w|wi|3d|weighted|tse|fse|se|blade|propeller)?")),
    ("ct", re.compile(r"(n?c|h)?ct|headct|ct(head|brain)")),
    ("pd", re.compile(r"pdw?")),
    ("diffusion", re.compile(r"dwi|adc|dti|trace|b1000")),
    ("angiography", re.compile(r"mra|tof|cta|angio")),
    ("functional", re.compile(r"bold|fmri|asl|perf|pwi")),
)
_ENHANCED = re.compile(r"gd|gad\w*|ce|post|postcontrast|km|ks|c\+|enhanced|contrast")
# entities of BIDS that name another scan
_ELSEWHERE = re.compile(r"(?:space|ref|from|to)-[^_]+")
_KEYWORDS = (
    *("SeriesDescription", "ProtocolName", "ScanningSequence", "ContrastBolusAgent"),
    *("EchoTime", "RepetitionTime", "InversionTime"),
)
_DESCRIBED = ("SeriesDescription", "ProtocolName")
_AIR_HU = -900


class Contrast(NamedTuple):
    """
    What is known of a scan's contrast.

    Args:
        name: one of :data:`CONTRASTS`, or another one's; None: it could not be told.
        why: how it was told, for people.
        doubt: what speaks against it; empty if nothing does.
    """

    name: str | None
    why: str
    doubt: str = ""


def contrast_of(scan: str | os.PathLike) -> Contrast:
    """
    Tell the contrast of a scan.

    Args:
        scan: path of a volume, of a DICOM file, or ``FOLDER::SeriesInstanceUID``. A header's texts are compared,
            never shown.

    Returns:
        By the file's name, else its BIDS sidecar, else its folders' names, else Hounsfield units; of DICOM by the
        header alone.
    """
    path = os.fspath(scan)
    if is_series_path(path) or is_dicom(path):
        return _of_dicom(path)
    file = Path(path)
    named = contrast_named(os.path.basename(scan_stem(path)))
    told = _of_sidecar(file)
    if named is not None:
        differs = told is not None and told.name != named
        return Contrast(named, "file name", f"its sidecar says {label(told.name)}" if told and differs else "")
    if told is not None:
        return told
    for folder in file.absolute().parts[-2:-4:-1]:
        found = contrast_named(folder)
        if found is not None:
            return Contrast(found, f"the folder '{folder}'")
    return Contrast("ct", "values in Hounsfield units") if _has_air(file) else Contrast(None, "nothing tells it")


def label(name: str | None) -> str:
    """A contrast's name for people."""
    return "unknown" if name is None else {"t1ce": "T1 with contrast agent"}.get(name, _shown(name))


def _shown(name: str) -> str:
    return name.upper() if len(name) <= 5 else name


def contrast_named(text: str) -> str | None:
    """The contrast that a name or description tells: the last one named, FLAIR before T2."""
    words = [word for word in re.split(r"[^a-z0-9+*]+", _ELSEWHERE.sub("", text.lower())) if word]
    found = [(k, name) for k, word in enumerate(words) if (name := _of_word(word)) is not None]
    names = [name for _, name in found]
    if not names:
        return None
    name = "flair" if set(names) == {"flair", "t2"} else names[-1]
    enhanced = any(_ENHANCED.fullmatch(word) for word in words)
    return "t1ce" if name == "t1" and (enhanced or "t1ce" in names) else name


def _of_word(word: str) -> str | None:
    return next((name for name, pattern in _WORDS if pattern.fullmatch(word)), None)


def contrast_of_header(values: Mapping[str, Any], milliseconds: float) -> Contrast | None:
    """
    Tell a contrast by what a header says.

    Args:
        values: keywords and values, of DICOM or a BIDS sidecar.
        milliseconds: of the unit that the times are in.

    Returns:
        By the description, else by the times; None where neither tells it.
    """
    for key in _DESCRIBED:
        found = contrast_named(str(values.get(key) or ""))
        if found is not None:
            agent = found == "t1" and bool(values.get("ContrastBolusAgent"))
            return Contrast("t1ce" if agent else found, "series description")
    if "EP" in str(values.get("ScanningSequence") or ""):
        return None
    times = (_number(values.get(key)) for key in ("EchoTime", "RepetitionTime", "InversionTime"))
    found = _of_times(*(time * milliseconds for time in times))
    return None if found is None else Contrast(found, "echo, repetition and inversion time")


def _of_times(echo: float, repetition: float, inversion: float) -> str | None:
    """By times in milliseconds, 0 where the header has none; nothing where they are unusual."""
    if inversion >= 1500 and echo >= 50:
        return "flair"
    if 0 < echo <= 15 and (300 <= inversion < 1500 or 0 < repetition <= 900):
        return "t1"
    return "t2" if echo >= 70 and repetition >= 2000 and inversion == 0 else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _of_dicom(path: str) -> Contrast:
    try:
        file = get_series(path).headers[0].file if is_series_path(path) else path
        header = read_header(file, _KEYWORDS)
    except (CUASError, NotAnImage, ValueError):
        # what is wrong with it is said when it is read
        return Contrast(None, "its header cannot be read")
    if header.modality != "MR":
        modality = {"CT": "ct", "PT": "positron emission"}.get(header.modality)
        return Contrast(modality, "DICOM modality")
    return contrast_of_header(header.values, 1.0) or Contrast(None, "its DICOM header does not tell")


def _of_sidecar(file: Path) -> Contrast | None:
    try:
        with open(scan_stem(str(file)) + ".json", encoding="utf-8") as stream:
            values = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    if values.get("Modality") == "CT":
        return Contrast("ct", "BIDS sidecar")
    found = contrast_of_header(values, 1000.0)
    return None if found is None else found._replace(why=f"{found.why} in the BIDS sidecar")


def _has_air(file: Path) -> bool:
    """Whether the lowest values are those of air in Hounsfield units, as in CT that is not stripped."""
    try:
        volume = np.asanyarray(nib.load(file).dataobj)  # type: ignore[attr-defined]
    except Exception:
        # what is wrong with it, or that nibabel does not read it, is not said here
        return False
    return bool(volume.size) and float(np.min(volume)) <= _AIR_HU
