# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What a segmentation says of how it came about: the same words from the command line and from the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .derived import SegmentationTerms
from .index import DicomSeries
from .segmentation import make_segmentation

__all__ = ["READ", "found_terms", "read_terms", "segment_finding", "stated"]

READ = "Anomaly segmentation, by a reader"
"""Description of the series of a reader's segmentation."""

_SERIAL_DIGITS = 16
_PERSON = 64


def stated(terms: SegmentationTerms, rate: float, weights_sha256: str | None = None) -> SegmentationTerms:
    """
    Terms that state the threshold and the weights.

    Args:
        terms: their ``parameters`` hold the other settings of the postprocessing.
        rate: healthy exceedance rate of the threshold.
        weights_sha256: digest of the weights file; its first 16 digits become the device's serial number.
    """
    parameters: dict[str, Any] = {"healthy_false_positive_rate": f"{rate:g}", **terms.parameters}
    if weights_sha256 is None:
        return replace(terms, parameters=parameters)
    parameters["weights_sha256"] = weights_sha256
    return replace(terms, parameters=parameters, serial_number=weights_sha256[:_SERIAL_DIGITS])


def found_terms(summary: Mapping[str, Any], weights_sha256: str, **changes: Any) -> SegmentationTerms:
    """
    Terms of what a model found in one scan.

    Args:
        summary: of the finding, see :class:`monai_cuas.pipeline.Finding`.
        weights_sha256: digest of the weights file.
        changes: other arguments of :class:`SegmentationTerms`.
    """
    settings = {"median_radius": int(summary["median_radius"]), "min_component_ml": float(summary["min_component_ml"])}
    terms = SegmentationTerms(algorithm=f"monai_cuas {summary['method']}", parameters=settings, **changes)
    return stated(terms, float(summary["threshold_rate"]), weights_sha256)


def segment_finding(
    series: DicomSeries, mask: np.ndarray, affine: np.ndarray, terms: SegmentationTerms, rate: float
) -> Any:
    """
    A segmentation of what is above a threshold.

    Args:
        series, mask, affine: see :func:`make_segmentation`.
        terms: see :func:`stated`.
        rate: healthy exceedance rate of the threshold.

    Raises:
        ScanError: see :func:`make_segmentation`.
    """
    above = f"{'Above' if mask.any() else 'Nothing above'} the threshold of {rate:.3g} of healthy voxels"
    return make_segmentation(series, mask, affine, terms, above)


def read_terms(reader: str | None, proposal: SegmentationTerms | None, label: str) -> SegmentationTerms:
    """
    Terms of what a reader made.

    Args:
        reader: name of the user, None if it is not known.
        proposal: terms of the mask that the reader was shown and changed; None if it was drawn by hand.
        label: name of the segment.
    """
    shown = proposal or SegmentationTerms()
    return replace(
        shown,
        label=label,
        series_number=SegmentationTerms.series_number + 1,
        series_description=READ,
        made="MANUAL" if proposal is None else "SEMIAUTOMATIC",
        creator=_person(reader),
    )


def _person(name: str | None) -> str | None:
    """A user's name as DICOM can hold it: its separators and what cannot be printed become spaces."""
    plain = "".join(c if c.isprintable() else " " for c in re.sub(r"[\\^=]", " ", name or ""))
    return plain.strip()[:_PERSON] or None
