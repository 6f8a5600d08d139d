# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Results of inference on disk: map, mask, picture and one line in a table for each scan."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events

from ..data.robust import note_failure
from ..io.nifti import ANOMALY_DESCRIPTION, MASK_DESCRIPTION, form_of, save_nifti
from ..networks.layers import ScoreScale
from ..utils import PICTURE_SUFFIXES, ScanError, locked, printable, replacing, require_writable
from ..visualize.overlay import draw_overlay
from ..visualize.report import has_viewer, volumes_path, write_scan_report, write_volumes
from ..visualize.scan import first_item, read_display_scan
from .summary import summarize

__all__ = ["AnomalyResultSaver", "update_csv"]

logger = logging.getLogger(__name__)

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm", *PICTURE_SUFFIXES)


def update_csv(path: str | os.PathLike, row: Mapping[str, Any], key: str = "name", merge: bool = False) -> None:
    """
    Put one row into a table: the row of the same ``key`` is replaced, the others stay, those of other processes too.

    Args:
        path: CSV file, made if absent.
        row: values by column.
        key: column that tells rows apart.
        merge: add the columns to the row of the same key, instead of replacing it.
    """
    text = {k: printable(str(v)) for k, v in row.items()}
    with locked(path):
        _update(path, text, key, merge)


def _update(path: str | os.PathLike, text: dict[str, str], key: str, merge: bool) -> None:
    rows: list[dict[str, Any]] = []
    if os.path.exists(path):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    same = [k for k, old in enumerate(rows) if old.get(key) == text[key]]
    if same:
        rows[same[0]] = {**rows[same[0]], **text} if merge else text
    else:
        rows.append(text)
    columns = list(dict.fromkeys([*(rows[same[0]] if same else text), *(c for r in rows for c in r if c is not None)]))
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _volume(value: Any) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    return array[0] if array.ndim == 4 else array


class AnomalyResultSaver:
    """
    Write what an inference engine found, scan by scan, so that an interrupted run keeps what it had done.

    For each scan, on its own grid: ``<name>_anomaly.nii.gz`` (float32, -log10 of the healthy exceedance rate),
    ``<name>_mask.nii.gz`` (uint8), ``<name>_overlay.png`` and a row of ``results.csv``; where the viewer of a report is
    installed, small volumes for it too. The name is the data list entry's "name", or else the file's name; no other
    identity is read or written.

    Args:
        output_dir: folder for the files, made at the start of the run.
        rate: healthy false-positive rate of the threshold.
        options: postprocessing options to be stated in the table, such as median filter and smallest component.
        overlay: False draws no picture and keeps no volumes for a viewer.
        scale: the score's scale, for the scans' p-values; None leaves them out.
        failed: takes (file, sentence) of a scan whose results cannot be written, and the run goes on; None: the error
            is raised.
        image_key, brain_key, anomaly_key, mask_key: where the engine's batch and output keep the volumes.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        rate: float = 0.01,
        options: Mapping[str, Any] | None = None,
        overlay: bool = True,
        scale: ScoreScale | None = None,
        failed: list[tuple[str, str]] | None = None,
        image_key: str = "image",
        brain_key: str = "brain_mask",
        anomaly_key: str = "anomaly",
        mask_key: str = "pred",
    ) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, got {rate}.")
        self.output_dir, self.rate, self.options, self.overlay = Path(output_dir), rate, dict(options or {}), overlay
        self.scale, self.failed = scale, failed
        self.image_key, self.brain_key = image_key, brain_key
        self.anomaly_key, self.mask_key = anomaly_key, mask_key
        self._written: dict[str, str] = {}
        self._found = 0
        self._clock = time.perf_counter()

    @property
    def stated(self) -> dict[str, Any]:
        """What the table says of the postprocessing."""
        return self.options

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator, after its postprocessing."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Refuse a folder that cannot be written before any work is done."""
        require_writable(self.output_dir)
        self._written.clear()
        self._found = 0
        self._clock = time.perf_counter()

    def completed(self, engine: Engine) -> None:
        """Write the report, and say where the results are."""
        self._keep_failures()
        report = write_scan_report(self.output_dir)
        logger.info(
            "Maps, masks and results.csv of %d scans, %d of them with something found: %s",
            *(len(self._written), self._found, self.output_dir),
        )
        logger.info("Report: %s", report)

    def _keep_failures(self) -> None:
        """In a table of their own, as a folder may be filled by several runs; who succeeds is taken off."""
        table = self.output_dir / "failures.csv"
        for file, problem in self.failed or []:
            update_csv(table, {"name": file, "problem": problem})
        if table.exists():
            with open(table, newline="", encoding="utf-8") as stream:
                listed = {row["name"] for row in csv.DictReader(stream)}
            done = set(self._written.values()) - {file for file, _ in self.failed or []}
            for file in sorted(file for file in done if printable(file) in listed):
                update_csv(table, {"name": file, "problem": ""})

    def __call__(self, engine: Engine) -> None:
        """Write the scans of the iteration that just ended."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        batches = batch if isinstance(batch, (list, tuple)) else [batch]
        outputs = output if isinstance(output, (list, tuple)) else [output]
        now = time.perf_counter()
        seconds = (now - self._clock) / max(len(outputs), 1)
        for given, made in zip(batches, outputs):
            item = {**given, **made}
            try:
                self.save(item, seconds)
            except Exception as error:
                if self.failed is None:
                    raise
                note_failure(self.failed, self._file(item), error)
        self._clock = time.perf_counter()

    def save(self, item: Mapping[str, Any], seconds: float = math.nan) -> dict[str, Any]:
        """
        Write the files and the row of one scan.

        Args:
            item: image (with its metadata), brain mask, anomaly map and mask, each (1, X, Y, Z); optionally, under the
                mask's key with "_threshold" behind it, the score that the mask was made at.
            seconds: time that the scan took, for the table.

        Returns:
            The row of the table.
        """
        file = self._file(item)
        name = self._name(item, file)
        anomaly = _volume(item[self.anomaly_key]).astype(np.float32)
        if not np.isfinite(anomaly).all():
            raise ScanError(file, "its map holds values that are not numbers", "check the weights, or train them again")
        mask = _volume(item[self.mask_key]) > 0.5
        brain = _volume(item[self.brain_key]) > 0
        affine = self._affine(item)
        form = form_of(getattr(item.get(self.image_key), "meta", {}))
        save_nifti(self.output_dir / f"{name}_anomaly.nii.gz", anomaly, affine, np.float32, form, ANOMALY_DESCRIPTION)
        save_nifti(self.output_dir / f"{name}_mask.nii.gz", mask, affine, np.uint8, form, MASK_DESCRIPTION)
        row = self._row(name, file, anomaly, mask, brain, affine, seconds)
        row["threshold_raised_to"] = self._raised(item)
        row["notes"] = self._meta(item, "notes")
        row["made_with"] = str(first_item(item.get("made_with", "")) or "")
        if self.overlay:
            scan = read_display_scan(item, anomaly, self.image_key)
            self._draw(name, scan, anomaly, mask, brain, affine, row)
            self._keep_volumes(name, scan, anomaly, mask, brain, affine, self._used(item))
        update_csv(self.output_dir / "results.csv", row)
        self._found += bool(mask.any())
        return row

    def _raised(self, item: Mapping[str, Any]) -> float | str:
        """The score that this scan's mask was made at, if it had to be raised to keep within the largest share."""
        used = self._used(item)
        return round(used, 4) if used > -math.log10(self.rate) + 1e-6 else ""

    def _used(self, item: Mapping[str, Any]) -> float:
        """The score that this scan's mask was made at."""
        return max(float(first_item(item.get(f"{self.mask_key}_threshold", -math.inf))), -math.log10(self.rate))

    def _file(self, item: Mapping[str, Any]) -> str:
        return self._meta(item, "filename_or_obj") or str(item.get("file", ""))

    def _meta(self, item: Mapping[str, Any], key: str) -> str:
        return str(first_item(getattr(item.get(self.image_key), "meta", {}).get(key, "")))

    def _name(self, item: Mapping[str, Any], file: str) -> str:
        name = str(first_item(item.get("name", "")) or "")
        if not name:
            name = os.path.basename(file.rstrip("/\\")) or "scan"
            name = next((name[: -len(s)] for s in _SUFFIXES if name.lower().endswith(s)), name)
        name = name.replace(os.sep, "_")
        # two scans of one name in a run must not overwrite one another
        unique, number = name, 1
        while self._written.get(unique, file) != file:
            number += 1
            unique = f"{name}_{number}"
        self._written[unique] = file
        return unique

    def _affine(self, item: Mapping[str, Any]) -> np.ndarray:
        for key in (self.brain_key, self.anomaly_key):
            if hasattr(item[key], "affine"):
                return np.asarray(item[key].affine, dtype=np.float64)
        return np.eye(4)

    def _row(
        self,
        name: str,
        file: str,
        anomaly: np.ndarray,
        mask: np.ndarray,
        brain: np.ndarray,
        affine: np.ndarray,
        seconds: float,
    ) -> dict[str, Any]:
        figures = summarize(anomaly, mask, brain, affine, self.scale, self.rate)
        del figures["nothing_found"]  # 0 components say it
        return {
            "name": name,
            "file": file,
            **{column: "" if value is None else value for column, value in figures.items()},
            "size": "x".join(map(str, anomaly.shape)),
            "spacing_mm": "x".join(f"{s:g}" for s in np.round(nib.affines.voxel_sizes(affine), 4)),
            **self.options,
            "seconds": round(seconds, 2),
        }

    def _draw(
        self,
        name: str,
        scan: np.ndarray,
        anomaly: np.ndarray,
        mask: np.ndarray,
        brain: np.ndarray,
        affine: np.ndarray,
        row: Mapping[str, Any],
    ) -> None:
        found = f"{row['lesion_volume_ml']:.1f} ml in {row['components']} component(s)"
        text = found if mask.any() else "nothing above the threshold"
        raised = ", raised to keep within the largest share" if row["threshold_raised_to"] else ""
        shown = printable(name)
        title = f"{shown}: {text} (threshold: {self.rate:.2%} of healthy brain voxels{raised})"
        limit = row["threshold_raised_to"] or row["threshold_score"]
        draw_overlay(self.output_dir / f"{name}_overlay.png", scan, anomaly, mask, brain, affine, limit, title)

    def _keep_volumes(
        self,
        name: str,
        scan: np.ndarray,
        anomaly: np.ndarray,
        mask: np.ndarray,
        brain: np.ndarray,
        affine: np.ndarray,
        threshold: float,
    ) -> None:
        """Those of an earlier run must not stand beside the new picture, with or without a viewer."""
        path = volumes_path(self.output_dir, name)
        path.unlink(missing_ok=True)
        if not has_viewer():
            return
        path.parent.mkdir(exist_ok=True)
        rates = [] if self.scale is None else self.scale.rates[~torch.isnan(self.scale.thresholds)].tolist()
        left_out = float(self.options.get("min_component_ml", 0)) > 0
        write_volumes(path, scan, anomaly, mask, brain, affine, threshold, rates, left_out=left_out)
