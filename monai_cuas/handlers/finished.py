# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which scans of a batch are done already, so that one that was stopped goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from .. import __version__
from ..io.content import scan_files
from ..io.dicom.index import is_series_path
from ..utils import as_plain, brain_mask_beside, file_digest
from ..utils.progress import track
from ..visualize.report import remove_evaluated, volumes_path
from .dicom_seg_saver import NOT_DICOM

__all__ = ["EVALUATION_FILES", "FinishedScans", "remove_results"]

logger = logging.getLogger(__name__)

EVALUATION_FILES = (
    *("evaluation.csv", "evaluation.json", "evaluation.md", "panel.npz", "panel.png"),
    *("precision_recall.csv", "precision_recall.png", "report.html", "evaluation.html"),
)
"""What the evaluation of a model leaves in its folder."""

_RESULTS = ("{}_anomaly.nii.gz", "{}_mask.nii.gz", "{}_overlay.png")
# columns of the table that name a DICOM file, or say why there is none
_FILES = ("dicom_seg", "dicom_map", "dicom_painted")
# a folder of images, named by its column
_PAINTED = "_painted"
# from as many scans on, one sees that they are looked at
_MANY = 50


class FinishedScans:
    """
    The scans of a folder of results that are done: by the same weights and settings, of the same voxels, whole.

    What a result was made with is a column of ``results.csv``: the first 16 digits of the SHA-256 of the version, the
    settings and the scan's files. Files count by their content, those of a DICOM series by name, size and time.

    Args:
        output_dir: folder of the results.
        skip: leave the done ones out; else all are listed, and only marked for the table.
        made_with: all that decides a result beside the scan; plain data.
    """

    def __init__(self, output_dir: str | os.PathLike, skip: bool = False, **made_with: Any) -> None:
        self.output_dir, self.skip = Path(output_dir), skip
        self.made_with = as_plain({"version": __version__, **made_with})

    def unfinished(self, datalist: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """
        List what is to be done.

        Args:
            datalist: of ``scan_datalist``, with "image" and "name".

        Returns:
            The entries, with what their results will be made with under "made_with".
        """
        looked = track(datalist, "looking at the scans", show=len(datalist) >= _MANY)
        marked = [{**entry, "made_with": self.key(entry)} for entry in looked]
        if not self.skip:
            return marked
        done = self._done()
        left = [entry for entry in marked if done.get(str(entry.get("name"))) != entry["made_with"]]
        skipped = len(marked) - len(left)
        logger.info("%d of %d scans are done, by the same weights and settings, and skipped", skipped, len(marked))
        return left

    def key(self, entry: Mapping[str, Any]) -> str:
        """What a scan's result is made with, 16 hexadecimal digits; of a scan that cannot be read, of its path."""
        scan = {key: value for key, value in entry.items() if key != "name"}
        stamps = [_stamp(path, content) for path, content in _files(entry)]
        said = json.dumps([self.made_with, scan, stamps], sort_keys=True, default=os.fspath)
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _done(self) -> dict[str, str]:
        """By name, what the whole results of the folder were made with."""
        table = self.output_dir / "results.csv"
        if not table.is_file():
            return {}
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["name"]: row["made_with"] for row in rows if row.get("made_with") and self._whole(row)}

    def _whole(self, row: Mapping[str, str]) -> bool:
        """Whether every file of a row is there; each is written whole or not at all."""
        said = [row.get(column) or "" for column in _FILES]
        if any(value.startswith("none:") and value != NOT_DICOM for value in said):
            return False  # it could not be written then
        files = [*(result.format(row["name"]) for result in _RESULTS), *(v for v in said if v.endswith(".dcm"))]
        painted = row.get("dicom_painted") or ""
        if painted.endswith(_PAINTED) and not (self.output_dir / painted).is_dir():
            return False
        return all((self.output_dir / file).is_file() for file in files)


def remove_results(output_dir: str | os.PathLike) -> None:
    """
    Remove what inference and evaluation wrote into a folder, so that none of it is taken for a later model's.

    Args:
        output_dir: folder of the results; need not exist. Files that its table does not name, and that no evaluation
            writes, stay.
    """
    folder, table = Path(output_dir), Path(output_dir) / "results.csv"
    names = [*EVALUATION_FILES]
    remove_evaluated(folder)
    if table.is_file():
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                names += [result.format(row["name"]) for result in _RESULTS]
                if os.path.basename(row["name"]) == row["name"]:
                    volumes_path(folder, row["name"]).unlink(missing_ok=True)
                names += [value for column in _FILES if (value := row.get(column) or "").endswith(".dcm")]
                painted = row.get("dicom_painted") or ""
                if painted.endswith(_PAINTED) and os.path.basename(painted) == painted:
                    shutil.rmtree(folder / painted, ignore_errors=True)
    # the table last: what it names can still be found if this is cut short
    for name in [*names, table.name]:
        if os.path.basename(name) == name:
            (folder / name).unlink(missing_ok=True)


def _files(entry: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Every file that an entry's voxels come from, and whether its content is to be read."""
    found: list[tuple[str, bool]] = []
    for image in map(os.fspath, ensure_tuple(entry["image"])):
        content = not is_series_path(image)
        found += [(file, content) for file in scan_files(image)]
        beside = brain_mask_beside(image) if content else None
        found += [(beside, True)] if beside else []
    mask = entry.get("brain_mask_file")
    return found + ([(os.fspath(mask), True)] if mask else [])


def _stamp(path: str, content: bool) -> list[Any]:
    if not os.path.isfile(path):
        return [path]  # the reader will say what is wrong with it
    status = os.stat(path)
    return [path, file_digest(path)] if content else [path, status.st_size, status.st_mtime_ns]
