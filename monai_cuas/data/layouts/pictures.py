# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Pictures, for use beyond brains: a folder of PNG, JPEG or TIFF files, or the layout of MVTec AD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_cuas.utils import PICTURE_SUFFIXES, CUASError

from .base import ReadReport, ScanEntry, folder_of, picture_channels, stem_of, subfolders, walk_files
from .plain import read_files

__all__ = ["detect_images2d", "detect_mvtec", "read_images2d", "read_mvtec"]

_GOOD = "good"


def _pictures(folder: Path) -> list[Path]:
    return [path for path in walk_files(folder) if path.name.lower().endswith(PICTURE_SUFFIXES)]


def _no_sequences(sequences: Sequence[str] | None, layout: str) -> None:
    if sequences:
        raise CUASError(f"The layout '{layout}' has no sequences, its channels are the colours; leave --sequences out.")


def _alike(report: ReadReport) -> ReadReport:
    """Leave out pictures with other channels than the first: a network takes one number of them."""
    kept: list[ScanEntry] = []
    first: int | None = None
    for entry in report.entries:
        n = picture_channels(entry.images[0])
        first = n if first is None else first
        if n == first:
            kept.append(entry)
        else:
            report.leave_out(entry.images[0], f"{n} colour channels, where the first picture has {first}")
    report.entries = kept
    if first is not None and first > 1:
        report.warnings.append(f"The pictures have {first} channels: train with --in_channels {first}.")
    return report


def detect_images2d(folder: Path) -> bool:
    """Tell whether any picture lies below the folder."""
    return bool(_pictures(folder))


def read_images2d(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read a folder of pictures as :func:`read_plain` reads one of volumes; of what has no mask the role is open.

    Args:
        folder: where the pictures are; masks of the same name under ``labels/``.
        sequences: not known here; must be left out.

    Raises:
        CUASError: nothing found, or sequences asked for.
    """
    _no_sequences(sequences, "images2d")
    report = ReadReport("images2d", folder_of(folder))
    read_files(report, PICTURE_SUFFIXES, "not PNG, JPEG or TIFF")
    return _alike(report).required("PNG, JPEG or TIFF files")


def detect_mvtec(folder: Path) -> bool:
    """Tell whether there are ``train/good`` and ``test``."""
    return (folder / "train" / _GOOD).is_dir() and (folder / "test").is_dir()


def _masks(folder: Path) -> dict[str, Path]:
    """Masks of one kind of defect by the stem of their picture."""
    return {stem_of(path).removesuffix("_mask"): path for path in _pictures(folder)} if folder.is_dir() else {}


def read_mvtec(folder: str | Path, sequences: Sequence[str] | None = None) -> ReadReport:
    """Read one category of MVTec AD; each picture counts as a subject.

    Args:
        folder: holds ``train/good``, ``test/<kind>`` and ``ground_truth/<kind>``.
        sequences: not known here; must be left out.

    Raises:
        CUASError: nothing fits, several categories, or sequences asked for.
    """
    _no_sequences(sequences, "mvtec")
    report = ReadReport("mvtec", folder_of(folder))
    categories = [sub.name for sub in subfolders(report.folder) if detect_mvtec(sub)]
    if categories:
        raise CUASError(f"{report.folder}: holds several categories ({', '.join(categories[:3])}, ...); name one.")
    for path in _pictures(report.folder / "train" / _GOOD):
        report.add(ScanEntry((path,), f"train_{_GOOD}_{stem_of(path)}", "normal", part="train"))
    kinds = subfolders(report.folder / "test") if (report.folder / "test").is_dir() else []
    for kind in kinds:
        masks = _masks(report.folder / "ground_truth" / kind.name)
        for path in _pictures(kind):
            subject = f"test_{kind.name}_{stem_of(path)}"
            if kind.name == _GOOD:
                report.add(ScanEntry((path,), subject, "normal", part="test"))
            else:
                mask = masks.get(stem_of(path))
                report.add(ScanEntry((path,), subject, "lesion", mask, part="test", extra={"kind": kind.name}))
    return _alike(report).required("train/good/000.png, test/<kind>/000.png and ground_truth/<kind>/000_mask.png")
