# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM series for MONAI's LoadImage."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from scipy.interpolate import make_interp_spline

from ...utils import ScanError
from .geometry import IRREGULARITIES, SliceStack, stack_slices
from .header import Plane, is_dicom
from .index import DicomSeries, is_series_path, series_at
from .pixels import PixelError, read_frames

__all__ = ["DicomSeriesReader", "DicomVolume", "read_series"]


@dataclass(frozen=True)
class DicomVolume:
    """
    A series as one volume.

    Args:
        array: (columns, rows, slices) float32, in rescaled units (Hounsfield, for CT).
        affine: 4 x 4, voxel to RAS millimetres.
        notes: what was dropped or accepted, one phrase each.
    """

    array: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...]


def read_series(series: DicomSeries, accept: Collection[str] = ()) -> DicomVolume:
    """
    Read a series onto its own grid.

    Args:
        series: see :func:`find_series`.
        accept: members of :data:`IRREGULARITIES` to be accepted.

    Raises:
        ScanError: if it cannot be read, is irregular, or holds several volumes.
    """
    series.check()
    stack = stack_slices(series.planes, series.path, accept)
    doubts: dict[str, None] = {}
    pixels = _pixel_source(series, doubts)
    slices = [_slice(place, pixels, series.path) for place in stack.places]
    volume = np.stack(slices, axis=-1).transpose(1, 0, 2).astype(np.float32)
    if not stack.is_regular:
        volume = _even(volume, stack)
    dropped = len(series.planes) - len(stack.places)
    duplicates = [f"{dropped} duplicate image(s) dropped"] if dropped else []
    return DicomVolume(np.ascontiguousarray(volume), stack.affine, (*duplicates, *stack.notes, *doubts))


def _pixel_source(series: DicomSeries, doubts: dict[str, None]) -> Callable[[Plane], np.ndarray]:
    """Rescaled pixels (rows, columns) of a slice; some files are kept, as a multi-frame file holds many slices."""

    @lru_cache(maxsize=4)
    def frames(file: str, uid: str) -> np.ndarray:
        try:
            found, notes = read_frames(file)
        except PixelError as error:
            problem = f"the pixels of image {uid} cannot be read: {error}"
            raise ScanError(series.path, problem, "export the series from the archive again, uncompressed") from None
        doubts.update(dict.fromkeys(notes))
        return found

    return lambda plane: frames(plane.file, plane.uid)[plane.frame]


def _slice(place: Sequence[Plane], pixels: Callable[[Plane], np.ndarray], name: str) -> np.ndarray:
    first = pixels(place[0])
    for other in place[1:]:
        if not np.array_equal(first, pixels(other)):
            problem = "it holds different images at one position, as several echoes, b-values or time points do"
            raise ScanError(name, problem, "export the volume that is wanted as a series of its own")
    return first


def _even(volume: np.ndarray, stack: SliceStack) -> np.ndarray:
    """Linear interpolation of slices onto the even grid."""
    heights = np.arange(stack.n_slices) * stack.step
    return make_interp_spline(stack.heights, volume, k=1, axis=2)(heights).astype(np.float32)


class DicomSeriesReader(ImageReader):
    """
    Read a DICOM series by its UID: ``ROOT::SeriesInstanceUID``, or a file or folder that holds just one series.

    Slices are sorted by position and the rescaling of each slice is applied (pydicom, highdicom); duplicates are
    dropped; what is no regular stack of one volume is refused. Only geometry goes into the metadata: no DICOM tag, so
    nothing that identifies a person. MONAI's PydicomReader sorts by instance number, checks no spacing and gives
    enhanced images the identity affine; its ITKReader needs the itk package.

    Args:
        accept: irregularities to be accepted, of "missing_slices", "uneven_spacing" and "gantry_tilt".

    Raises:
        ValueError: if ``accept`` names something else.
    """

    def __init__(self, accept: Collection[str] = ()) -> None:
        super().__init__()
        unknown = set(accept) - set(IRREGULARITIES)
        if unknown:
            raise ValueError(f"dicom_accept knows {', '.join(IRREGULARITIES)}, not {', '.join(sorted(unknown))}.")
        self.accept = tuple(accept)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True if every name is a series, a folder or a DICOM file."""
        return all(is_series_path(f) or os.path.isdir(f) or is_dicom(f) for f in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[DicomVolume]:  # type: ignore[override]
        """One volume per name."""
        return [self._volume(os.fspath(name)) for name in ensure_tuple(data)]

    def _volume(self, name: str) -> DicomVolume:
        series = series_at(name)
        if series is None:
            raise ScanError(name, "it is not DICOM", "give a folder with a DICOM series")
        return read_series(series, self.accept)

    def get_data(self, img: Sequence[DicomVolume]) -> tuple[np.ndarray, dict]:
        """Array (X, Y, Z), or (C, X, Y, Z) for several series, and its metadata with the affine in RAS."""
        first = img[0]
        for other in img[1:]:
            if other.array.shape != first.array.shape or not np.allclose(other.affine, first.affine, atol=1e-3):
                raise RuntimeError("affine matrix of all images should be the same for channel-wise concatenation.")
        meta = {
            MetaKeys.AFFINE: first.affine,
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.array.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if len(img) > 1 else "no_channel",
            "notes": "; ".join(dict.fromkeys(note for volume in img for note in volume.notes)),
        }
        return (np.stack([v.array for v in img]) if len(img) > 1 else first.array), meta
