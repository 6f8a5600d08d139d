# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What was found in a DICOM series as DICOM objects, for the archive it came from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from ..io.dicom import (
    DicomSeries,
    SegmentationTerms,
    make_parametric_map,
    map_terms,
    segment_finding,
    series_at,
    stated,
)
from ..io.dicom.header import discreet
from ..utils import CUASError, ScanError, file_digest, replacing, require_writable, scan_message
from ..visualize.paint import painted_series
from .result_saver import update_csv

__all__ = ["DicomSegSaver"]

logger = logging.getLogger(__name__)

NOT_DICOM = "none: the scan is not DICOM"


class DicomSegSaver:
    """
    Write ``<name>_seg.dcm`` for each scan that was a DICOM series, and say so in ``results.csv``.

    It comes after :class:`AnomalyResultSaver` among the handlers, and adds to its rows "dicom_seg", the file or the
    reason why there is none, and "dicom_seg_content", how many frames are marked. A scan in which nothing was found
    gets a segmentation of empty frames. With ``parametric_map`` the anomaly map comes as ``<name>_map.dcm`` too (column
    "dicom_map"), with ``painted`` the scan with the map painted on it in the folder ``<name>_painted`` (column
    "dicom_painted"). One that cannot be written does not stop the others; :meth:`report` tells.

    Args:
        output_dir: folder of the results.
        terms: arguments of :class:`SegmentationTerms` that differ from its defaults.
        rate: healthy false-positive rate of the threshold, stated in the segmentation.
        weights: weights file; the first 16 digits of its SHA-256 become the device's serial number.
        parametric_map: also write the anomaly map.
        painted: also write the scan with the map painted on it, for viewers that show no maps.
        image_key, mask_key, anomaly_key: where the engine's batch and output keep the volumes.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        terms: Mapping[str, Any] | None = None,
        rate: float = 0.01,
        weights: str | os.PathLike | None = None,
        parametric_map: bool = False,
        painted: bool = False,
        image_key: str = "image",
        mask_key: str = "pred",
        anomaly_key: str = "anomaly",
    ) -> None:
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in (terms or {}).items()}
        self.terms = SegmentationTerms(**given)
        self.output_dir, self.rate, self.weights = Path(output_dir), rate, weights
        self.parametric_map, self.painted = parametric_map, painted
        self.image_key, self.mask_key, self.anomaly_key = image_key, mask_key, anomaly_key
        self.failed: list[str] = []
        self.n_scans = 0

    @property
    def stated(self) -> dict[str, Any]:
        """What the segmentations say of the postprocessing."""
        return dict(self.terms.parameters)

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator, after its postprocessing and its :class:`AnomalyResultSaver`."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def started(self, engine: Engine) -> None:
        """Check the folder and read what the segmentations state of the weights."""
        require_writable(self.output_dir)
        self.failed, self.n_scans = [], 0
        known = self.weights is not None and os.path.isfile(self.weights)
        self.terms = stated(self.terms, self.rate, file_digest(self.weights) if known else None)  # type: ignore[arg-type]

    def __call__(self, engine: Engine) -> None:
        """Write the segmentations of the iteration that just ended."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        batches, outputs = (v if isinstance(v, (list, tuple)) else [v] for v in (batch, output))
        for given, made in zip(batches, outputs):
            self.save({**given, **made})

    def save(self, item: Mapping[str, Any]) -> dict[str, str]:
        """
        Write the segmentation of one scan.

        Args:
            item: "name", the image (for the path in its metadata), and the mask and the anomaly map (1, X, Y, Z) with
                their affine.

        Returns:
            What was added to the row of the table.
        """
        self.n_scans += 1
        file = item[self.image_key].meta["filename_or_obj"]
        file = str(file[0] if isinstance(file, (list, tuple)) else file)
        name = item.get("name", "")
        name = str(name[0] if isinstance(name, (list, tuple)) else name)
        try:
            series = series_at(file)
            name = name or (series.uid if series else Path(file).name)
            row = {"dicom_seg": NOT_DICOM} if series is None else self._write(series, name, item)
        except Exception as error:
            sentence = scan_message(error, file)
            logger.error("no DICOM segmentation: %s", sentence)
            self.failed.append(sentence)
            row = {"dicom_seg": f"none: {sentence}"}
        update_csv(self.output_dir / "results.csv", {"name": name, **row}, merge=True)
        return row

    def _write(self, series: DicomSeries, name: str, item: Mapping[str, Any]) -> dict[str, str]:
        mask, affine = _volume(item[self.mask_key])
        segmentation = segment_finding(series, mask > 0.5, affine, self.terms, self.rate)
        row = {"dicom_seg": self._save(segmentation, f"{name}_seg.dcm"), "dicom_seg_content": _content(segmentation)}
        anomaly, affine = _volume(item[self.anomaly_key]) if self.parametric_map or self.painted else (mask, affine)
        if self.parametric_map:
            made = make_parametric_map(series, anomaly, affine, map_terms(self.terms))
            row["dicom_map"] = self._save(made, f"{name}_map.dcm")
        if self.painted:
            row["dicom_painted"] = self._save_painted(painted_series(series, anomaly, affine, self.terms), name)
        return row

    def _save_painted(self, images: list[Any], name: str) -> str:
        """A folder of images; what an earlier run left in it goes."""
        folder = f"{name}_painted"
        shutil.rmtree(self.output_dir / folder, ignore_errors=True)
        (self.output_dir / folder).mkdir()
        for number, image in enumerate(images, 1):
            self._save(image, f"{folder}/{number:04d}.dcm")
        return folder

    def _save(self, dataset: Any, file: str) -> str:
        with replacing(self.output_dir / file) as temporary, discreet():
            try:
                dataset.save_as(temporary)
            except (TypeError, ValueError, AttributeError) as error:
                # What the exception says may quote a value of the header.
                kind = type(error).__name__
            else:
                return file
        raise ScanError(self.output_dir / file, f"cannot be encoded ({kind})", "export the series again")

    def report(self) -> None:
        """
        Raises:
            CUASError: if a segmentation could not be written.
        """
        if self.failed:
            reasons = " ".join(self.failed)
            raise CUASError(f"{len(self.failed)} of {self.n_scans} scans have no DICOM segmentation: {reasons}")


def _volume(value: Any) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) and affine of (1, X, Y, Z)."""
    return np.asarray(value.detach().cpu())[0], np.asarray(value.affine)


def _content(segmentation: Any) -> str:
    frames = segmentation.pixel_array.reshape(int(segmentation.NumberOfFrames), -1)
    marked = int(frames.any(axis=1).sum())
    if not marked:
        return f"nothing above the threshold: all {len(frames)} frames are empty"
    return f"{marked} of {len(frames)} frames are marked"
