# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The anomaly map painted on its scan, for viewers that cannot lay one volume over another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..io.dicom import (
    IRREGULARITIES,
    DicomSeries,
    SegmentationTerms,
    check_grid,
    make_painted,
    painted_terms,
    read_series,
)
from .overlay import grey_window

__all__ = ["paint", "painted_series"]

# from one in ten to one in ten thousand healthy voxels, as the window of the parametric map
_LOWEST, _HIGHEST = 1.0, 4.0
_STRONGEST = 0.7


def paint(scan: np.ndarray, anomaly: np.ndarray) -> np.ndarray:
    """
    Paint a map on a scan: nothing up to a score of 1, then red, which grows denser until 2.5 and is yellow at 4.

    There is no threshold in it, so what is a little below that of the mask is seen too.

    Args:
        scan: (X, Y, Z) intensities.
        anomaly: (X, Y, Z) -log10 of the healthy exceedance rate; what is not finite is not painted.

    Returns:
        (X, Y, Z, 3) uint8, red, green and blue.

    Raises:
        ValueError: if the shapes differ.
    """
    if scan.shape != anomaly.shape:
        raise ValueError(f"scan {scan.shape} and map {anomaly.shape} must have one shape")
    low, high = grey_window(scan, anomaly > 0)
    painted = np.empty((*scan.shape, 3), np.uint8)
    # slice by slice: the numbers in between are of four bytes and several
    for k in range(scan.shape[2]):
        grey = np.clip((np.nan_to_num(scan[:, :, k]) - low) / (high - low), 0, 1)
        score = np.nan_to_num(anomaly[:, :, k], posinf=0.0, neginf=0.0)
        share = np.clip((score - _LOWEST) / (_HIGHEST - _LOWEST), 0, 1)
        cover = np.minimum(2 * share, 1) * _STRONGEST
        for channel, colour in enumerate((1.0, share, 0.0)):
            painted[:, :, k, channel] = np.rint(255 * (grey * (1 - cover) + colour * cover))
    return painted


def painted_series(
    series: DicomSeries, anomaly: np.ndarray, affine: np.ndarray, terms: SegmentationTerms | None = None
) -> list[Any]:
    """
    A series with its map painted on it, as a series of DICOM secondary captures.

    Args:
        series: as it was read.
        anomaly: (columns, rows, slices) on the grid of the series.
        affine: of the map, 4 x 4, voxel to RAS millimetres.
        terms: of the segmentation beside it.

    Returns:
        pydicom Datasets, one for each image.

    Raises:
        ScanError: if the map lies on another grid, or the series cannot be read or referred to.
    """
    check_grid(series, anomaly, affine)
    painted = paint(read_series(series, IRREGULARITIES).array, np.asarray(anomaly))
    return make_painted(series, painted, affine, painted_terms(terms or SegmentationTerms()))
