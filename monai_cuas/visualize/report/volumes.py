# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A scan with what was found, small enough for a page: cropped to the brain, 8 bit."""

from __future__ import annotations

import base64
import gzip
import math
import os
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy.ndimage import maximum_filter

from ...utils import write_json
from ..overlay import grey_window

__all__ = ["STEP", "THRESHOLD_LEVEL", "write_volumes"]

THRESHOLD_LEVEL = 120
"""Grey value of the map from which a voxel lies above the run's threshold, exactly."""
STEP = 0.05
"""Score from one grey value of the map to the next."""
_MARGIN_MM = 5.0
# more voxels than this are thinned for display: a browser holds several volumes on the graphics card
_MOST_VOXELS = 16_000_000


def write_volumes(
    path: str | os.PathLike,
    scan: np.ndarray,
    anomaly: np.ndarray,
    mask: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    threshold: float,
    rates: Sequence[float] = (),
    truth: np.ndarray | None = None,
    left_out: bool = False,
) -> None:
    """
    Write what the viewer of a report shows of one scan: JSON with a NIfTI file of all volumes in it.

    What lies more than 5 mm outside of the brain is blackened, so that no face can be made of it; no name or header of
    the scan goes in, only its geometry.

    Args:
        path: file to write.
        scan: intensities, (X, Y, Z), as are the other volumes.
        anomaly: -log10 of the healthy exceedance rate.
        mask: what the run found.
        brain: brain mask.
        affine: voxel to RAS millimetres.
        threshold: score that the mask was made at; the map's grey values tell exactly what lies above it.
        rates: healthy rates that the calibration knows; they bound the viewer's threshold.
        truth: the true mask, where there is one.
        left_out: whether the run left small findings out of its mask.
    """
    spacing = nib.affines.voxel_sizes(affine)
    near = _near(brain.astype(bool), spacing)
    window = _box(near, spacing)
    low, high = grey_window(scan, brain)
    grey = np.clip((np.nan_to_num(scan) - low) / (high - low), 0, 1) * 255 * near
    layers = {"scan": grey, "map": _levels(anomaly, threshold) * brain.astype(bool), "mask": mask.astype(bool)}
    if truth is not None:
        layers["truth"] = truth.astype(bool)
    stack = np.stack([np.asarray(v)[window].astype(np.uint8) for v in layers.values()], axis=-1)
    image = nib.Nifti1Image(stack, _affine_of(affine, window))
    content = {
        "layers": list(layers),
        "threshold": float(threshold),
        "level": THRESHOLD_LEVEL,
        "step": STEP,
        **_bounds(threshold, rates),
        "voxel_ml": float(abs(np.linalg.det(image.affine[:3, :3])) / 1000),
        "left_out": left_out,
        "volumes": base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode("ascii"),
    }
    write_json(path, content)


def _levels(anomaly: np.ndarray, threshold: float) -> np.ndarray:
    """Rounded down from the threshold on: level THRESHOLD_LEVEL begins at the threshold itself; 0 is outside."""
    steps = np.floor((np.nan_to_num(anomaly).astype(np.float64) - threshold) / STEP)
    return np.clip(steps + THRESHOLD_LEVEL, 1, 255)


def _bounds(threshold: float, rates: Sequence[float]) -> dict[str, int]:
    """Lowest and highest level of the viewer's threshold: what the calibration knows, and the run's threshold."""
    scores = [threshold, *(-math.log10(rate) for rate in rates)]
    if not rates:
        scores += [max(threshold - 1, 0.0), threshold + 1]
    levels = [THRESHOLD_LEVEL + round((score - threshold) / STEP) for score in (min(scores), max(scores))]
    return {"lowest": max(levels[0], 2), "highest": min(levels[1], 255)}


def _near(brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The brain with its surroundings; everything where there is no brain mask."""
    if not brain.any():
        return np.ones_like(brain)
    reach = np.maximum(np.ceil(_MARGIN_MM / spacing).astype(int), 1)
    return maximum_filter(brain, size=tuple(2 * reach + 1))


def _box(near: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """Window of the volumes; where they would be too large, every second or further voxel of the finest axes."""
    ends = [np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    sizes = np.array([end[-1] - end[0] + 1 for end in ends])
    steps = np.ones(3, dtype=int)
    while np.prod(-(-sizes // steps)) > _MOST_VOXELS:
        steps[np.argmin(spacing * steps)] += 1
    x, y, z = (slice(int(end[0]), int(end[-1]) + 1, int(step)) for end, step in zip(ends, steps))
    return x, y, z


def _affine_of(affine: np.ndarray, window: tuple[slice, slice, slice]) -> np.ndarray:
    cut = np.eye(4)
    cut[:3, :3] = np.diag([part.step for part in window])
    cut[:3, 3] = [part.start for part in window]
    return np.asarray(affine, dtype=np.float64) @ cut
