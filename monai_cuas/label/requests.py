# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a request may ask, checked before anything is done; every refusal is one sentence with a 4xx status."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from fastapi import HTTPException

from ..io.nifti import header_shape
from ..utils import CUASError, ScanError

__all__ = [
    "MAX_VOXELS",
    "SUFFIXES",
    "InferOptions",
    "check_alone",
    "check_id",
    "check_size",
    "check_tag",
    "is_id",
    "own_words",
    "parse_params",
    "refuse",
    "sentence",
    "shape_of",
    "suffix_of",
    "Upload",
]

SUFFIXES = (".nii.gz", ".nii", ".nrrd")
"""Formats of scans, labels and answers."""

MAX_VOXELS = 512 * 512 * 512
"""Voxels of the largest scan that is read; a small file can claim to hold any number."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Upload(str):
    """Path of a file that the server itself wrote; a request can only bring plain strings."""


def refuse(status: int, text: str) -> HTTPException:
    """The refusal to raise; ``text`` is what the client is shown."""
    return HTTPException(status_code=status, detail=text)


def sentence(error: CUASError, name: str, names: Mapping[str, str] | None = None) -> str:
    """
    The error's sentence without a path on the server.

    Args:
        error: what was raised.
        name: what stands in the place of the file.
        names: of several files, by their paths.
    """
    known = names or {}
    text = (
        f"{known.get(error.file, name)}: {error.problem}; {error.remedy}."
        if isinstance(error, ScanError)
        else str(error)
    )
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, known[path])
    return text


def is_id(image: Any) -> bool:
    """Whether it is a plain name of ``A-Z a-z 0-9 . _ -``: no path and no part of one."""
    return isinstance(image, str) and _ID.fullmatch(image) is not None and ".." not in image


def check_id(image: str) -> str:
    """
    Raises:
        HTTPException: 400 if ``image`` is no id, see :func:`is_id`.
    """
    if not is_id(image):
        raise refuse(400, "An image id is a plain name of letters, digits, '.', '_' and '-', not a path.")
    return image


def check_tag(tag: str) -> str:
    """
    Raises:
        HTTPException: 400 if ``tag``, which names a folder, is no plain word.
    """
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise refuse(400, "A label tag is a word of small letters, digits, '_' and '-', such as 'final'.")
    return tag


def suffix_of(name: str | None, what: str = "file") -> str:
    """
    Raises:
        HTTPException: 415 if the file is of no known format by its name.
    """
    low = (name or "").lower()
    for suffix in SUFFIXES:
        if low.endswith(suffix):
            return suffix
    raise refuse(415, f"The {what} must be one of {', '.join(SUFFIXES)}, by its name too.")


_MOST_JSON = 2 * 2**20
_DEEPEST = 32
_OWN = frozenset(
    {"by", "changed_by", "model", "monai_cuas", "name", "params", "path", "proposal", "strategy", "ts", "user"}
)


def parse_params(text: str | None) -> dict[str, Any]:
    """
    Read a form's JSON; nothing of it is what a file in JSON could not hold again.

    Raises:
        HTTPException: 400 if it is no JSON object, is large or nested without need, or holds a number that is none
            (NaN, infinity, 1e400) or half of a character.
    """
    text = text or "{}"
    if len(text) > _MOST_JSON:
        raise refuse(400, f"The field params must have at most {_MOST_JSON} characters.")
    try:
        params = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        text.encode(), json.dumps(params, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict) or _depth(params) > _DEEPEST:
        raise refuse(400, 'The field params must be a plain JSON object, such as {"rate": 0.01}.')
    return params


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _no_number(text)


def _depth(value: Any) -> int:
    """Levels of lists and objects, counted no further than is allowed."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inside = [v for v in level if isinstance(v, (dict, list))]
        level = [w for v in inside for w in (v.values() if isinstance(v, dict) else v)]
        depth += bool(inside)
        if not inside:
            break
    return depth


def own_words(text: str | None, *kept: str) -> dict[str, Any]:
    """
    What a client adds to what is known of a scan or label, besides what the server itself keeps there.

    Args:
        text: the form's JSON.
        kept: further names that are not to be changed.

    Raises:
        HTTPException: 400, see :func:`parse_params`, or for a name that is the server's: who saved, scores, times.
    """
    params = parse_params(text)
    taken = sorted((_OWN | set(kept)) & params.keys())
    if taken:
        raise refuse(400, f"The server itself keeps {', '.join(taken)}; choose other names.")
    return params


def _number(params: Mapping[str, Any], name: str, default: float) -> float:
    try:
        value = float(params.get(name, default))
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise refuse(400, f"{name} must be a number.")
    return value


@dataclass(frozen=True)
class InferOptions:
    """
    Options of one request.

    Args:
        rate: rate at which healthy brain voxels may be above the threshold.
        threshold: anomaly score, in place of ``rate``; 0: from the rate.
        min_component_ml: smallest component to keep.
        suffix: format of the answer.
        compress: False: NRRD as it is, for OHIF, which reads a compressed one wrongly if its voxels are odd in number.
    """

    rate: float = 0.01
    threshold: float = 0.0
    min_component_ml: float = 0.0
    suffix: str = ".nii.gz"
    compress: bool = True

    @classmethod
    def of(cls, params: Mapping[str, Any], defaults: Mapping[str, Any]) -> InferOptions:
        """
        Read them from a request; what is not known is left to the clients, who send names of their own.

        Raises:
            HTTPException: 400 if a value makes no sense.
        """
        names = ("rate", "threshold", "min_component_ml")
        rate, threshold, smallest = (_number(params, n, float(defaults.get(n, getattr(cls, n)))) for n in names)
        if not 0 < rate < 1:
            raise refuse(400, f"rate must be between 0 and 1, not {rate:g}.")
        if threshold < 0 or smallest < 0:
            raise refuse(400, "threshold and min_component_ml must not be negative.")
        suffix = params.get("result_extension") or cls.suffix
        if suffix not in SUFFIXES:
            raise refuse(400, f"result_extension must be one of {', '.join(SUFFIXES)}.")
        return cls(rate, threshold, smallest, suffix, params.get("result_compress") is not False)

    @property
    def asked_rate(self) -> float:
        """The healthy rate that the threshold stands for."""
        return 10**-self.threshold if self.threshold else self.rate


_MOST_HEADER = 1 << 20
_END_OF_HEADER = re.compile(rb"\n\n|\r\n\r\n")
_OTHER_FILE = re.compile(rb"[\r\n]\s*data\s*file\s*:", re.IGNORECASE)


def check_alone(path: str | os.PathLike) -> None:
    """
    Look whether a file holds its own voxels: a header can name any file of the server, devices and pipes too.

    Raises:
        HTTPException: 422 if it is no regular file, or an NRRD that names another file or whose header has no end.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return  # not there, or a series of a folder: the reader tells
    if stat.S_ISDIR(mode):
        return
    if not stat.S_ISREG(mode):
        raise refuse(422, "This is a pipe or a device and no file; it is not read.")
    if not str(path).lower().endswith(".nrrd"):
        return  # a NIfTI header of a pair is refused by its reader, which opens no second file
    with open(path, "rb") as file:
        head = file.read(_MOST_HEADER)
    if not head.startswith(b"NRRD000") or _END_OF_HEADER.search(head) is None:
        raise refuse(422, "The file is no NRRD, or its header has no end; save it again as one file.")
    if _OTHER_FILE.search(head):
        raise refuse(422, "The header names another file for its voxels; save header and voxels as one file.")


def shape_of(path: str | os.PathLike) -> tuple[int, ...] | None:
    """
    Voxels along each axis as the header has them, without trailing ones; None if it cannot be read.

    Raises:
        HTTPException: 422, see :func:`check_alone`.
    """
    check_alone(path)
    try:
        if str(path).lower().endswith((".nii", ".nii.gz")):
            # as the reader goes, by the content: a compressed file may be named .nii
            shape = header_shape(path)
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape = tuple(reader.GetSize())
    except Exception:
        return None
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def check_size(path: str | os.PathLike) -> None:
    """
    Look at the header of a scan or label before it is read.

    Raises:
        HTTPException: 413 if it claims too many voxels, 422 if its voxels are elsewhere. A header that cannot be read
            is left to the reader, which says what is wrong.
    """
    shape = shape_of(path)
    if shape is not None and math.prod(shape) > MAX_VOXELS:
        raise refuse(413, f"The scan has {'x'.join(map(str, shape))} voxels; at most {MAX_VOXELS} are read.")
