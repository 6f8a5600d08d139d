# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From the places of slices to one grid, with every irregularity found out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ...utils import ScanError
from .header import Plane

__all__ = ["IRREGULARITIES", "SliceStack", "count_positions", "one_orientation", "stack_slices"]

IRREGULARITIES = ("missing_slices", "uneven_spacing", "gantry_tilt")
"""What can be accepted when it is asked for."""

_SAME_POSITION_MM = 0.01
_ORIENTATION_TOLERANCE = 1e-3
# How far a slice may lie from its place on the grid: of the distance between slices, and sideways of a pixel. Scanners
# round positions; this takes up the rounding and is still far below a voxel.
_HEIGHT_TOLERANCE = 0.05
_SIDEWAYS_TOLERANCE = 0.25
_EXPORT = "export the series from the archive again"
_CONVERT = "resample it to a regular grid, or accept it with --dicom_accept \"['{}']\" (docs/how-to/dicom.md)"


@dataclass(frozen=True)
class SliceStack:
    """
    Slices in the order of the patient's space, on a grid.

    Args:
        places: planes at each place, in the order of the normal (row direction x column direction); more than one
            are duplicates.
        heights: (n,) distance of each place from the first along the normal, mm.
        step: distance of the grid's slices, mm.
        n_slices: number of the grid's slices; ``len(places)`` unless an irregular series was accepted.
        affine: 4 x 4, from (column, row, slice) to RAS millimetres.
        notes: irregularities that were accepted, one phrase each.
    """

    places: tuple[tuple[Plane, ...], ...]
    heights: np.ndarray
    step: float
    n_slices: int
    affine: np.ndarray
    notes: tuple[str, ...]

    @property
    def slice_of_place(self) -> np.ndarray:
        """(n,) the grid's slice that is closest to each place."""
        return np.rint(self.heights / self.step).astype(int).clip(0, self.n_slices - 1)

    @property
    def is_regular(self) -> bool:
        """Whether the grid's slices are the series' own slices."""
        return self.n_slices == len(self.places) and np.allclose(
            self.heights, np.arange(self.n_slices) * self.step, rtol=0, atol=_HEIGHT_TOLERANCE * self.step
        )


def count_positions(planes: Sequence[Plane]) -> int:
    """Number of different places among slices, duplicates counted once."""
    return len(np.unique(np.round([p.position for p in planes], 2), axis=0)) if planes else 0


def one_orientation(planes: Sequence[Plane]) -> bool:
    """Whether all slices are parallel."""
    return all(np.abs(p.orientation - planes[0].orientation).max() < _ORIENTATION_TOLERANCE for p in planes)


def stack_slices(planes: Sequence[Plane], name: str, accept: Collection[str] = ()) -> SliceStack:
    """
    Sort the slices of one series and find their grid.

    Args:
        planes: two or more, in any order.
        name: how messages name the series.
        accept: members of :data:`IRREGULARITIES` to be accepted. Missing or uneven slices are then interpolated onto
            an even grid; of a tilted gantry the affine keeps the shear.

    Raises:
        ScanError: if the slices are no regular stack, and this was not accepted.
    """
    _check_alike(planes, name)
    rows, columns = planes[0].orientation[:3], planes[0].orientation[3:]
    axes = np.stack([rows, columns, np.cross(rows, columns)])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    local = np.stack([p.position for p in planes]) @ axes.T
    order = np.argsort(local[:, 2], kind="stable")
    groups = _group(order, local[:, 2])
    first = local[groups[0][0]]
    places = tuple(tuple(planes[k] for k in group) for group in groups)
    offsets = np.stack([local[group[0]] for group in groups]) - first
    _check_one_line(local, groups, planes[0].spacing, name)
    heights = offsets[:, 2]
    if len(heights) < 2:
        raise ScanError(name, "all its slices lie at one position", _EXPORT)
    step, n_slices, notes = _grid_heights(heights, name, accept)
    shear, tilt_note = _sideways(offsets, planes[0].spacing, name, accept)
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * planes[0].spacing[1]
    affine[:3, 1] = axes[1] * planes[0].spacing[0]
    affine[:3, 2] = axes[2] * step + (shear * step) @ axes[:2]
    affine[:3, 3] = first @ axes
    affine[:2] *= -1
    return SliceStack(places, heights, step, n_slices, affine, (*notes, *tilt_note))


def _check_alike(planes: Sequence[Plane], name: str) -> None:
    shapes = {p.shape for p in planes}
    spacings = np.asarray([p.spacing for p in planes])
    if len(shapes) > 1 or not np.allclose(spacings, spacings[0], rtol=1e-3, atol=0):
        raise ScanError(name, "its slices differ in size or pixel spacing", _EXPORT)
    if not one_orientation(planes):
        raise ScanError(name, "its slices are not parallel", "give a series of parallel slices")
    places: dict[tuple[str, int], np.ndarray] = {}
    for plane in planes:
        known = places.setdefault((plane.uid, plane.frame), plane.position)
        if np.abs(known - plane.position).max() >= _SAME_POSITION_MM:
            raise ScanError(name, "two different images have the same SOPInstanceUID", _EXPORT)
    lengths = np.linalg.norm(planes[0].orientation.reshape(2, 3), axis=1)
    product = planes[0].orientation[:3] @ planes[0].orientation[3:]
    if not np.allclose([*lengths, product], [1, 1, 0], atol=_ORIENTATION_TOLERANCE):
        raise ScanError(name, "its row and column directions are not perpendicular unit vectors", _EXPORT)


def _group(order: np.ndarray, heights: np.ndarray) -> list[list[int]]:
    """Slices at one height together; heights ascend along ``order``."""
    groups = [[int(order[0])]]
    for k in order[1:]:
        if heights[k] - heights[groups[-1][0]] < _SAME_POSITION_MM:
            groups[-1].append(int(k))
        else:
            groups.append([int(k)])
    return groups


def _check_one_line(
    local: np.ndarray, groups: Sequence[Sequence[int]], spacing: tuple[float, float], name: str
) -> None:
    """Slices at one height must be at one place."""
    for group in groups:
        apart = np.abs(local[list(group), :2] - local[group[0], :2]).max()
        if apart > _SIDEWAYS_TOLERANCE * min(spacing):
            raise ScanError(name, "slices at one height are shifted against each other", _EXPORT)


def _grid_heights(heights: np.ndarray, name: str, accept: Collection[str]) -> tuple[float, int, list[str]]:
    """Step and number of even slices for the heights; what is uneven is refused or noted."""
    gaps = np.diff(heights)
    mean = float(heights[-1] / (len(heights) - 1))
    if np.abs(heights - np.arange(len(heights)) * mean).max() <= _HEIGHT_TOLERANCE * mean:
        return mean, len(heights), []
    near = gaps[gaps < 1.5 * gaps.min()]
    usual = float(near.mean())
    multiples = np.rint(gaps / usual)
    if np.abs(gaps - multiples * usual).max() <= 2 * _HEIGHT_TOLERANCE * usual:
        n_slices = int(multiples.sum()) + 1
        gap = f"a gap of {gaps.max():.2f} mm where {usual:.2f} mm is usual"
        lost, first = n_slices - len(heights), int(np.argmax(multiples > 1)) + 1
        what = f"{lost} of {n_slices} slices are missing, the first after slice {first} ({gap})"
        if "missing_slices" not in accept:
            raise ScanError(name, what, f"{_EXPORT}, or accept it with --dicom_accept \"['missing_slices']\"")
        return float(heights[-1] / (n_slices - 1)), n_slices, [f"{what}: interpolated"]
    n_slices = round(heights[-1] / float(np.median(gaps))) + 1
    step = float(heights[-1] / (n_slices - 1))
    what = f"its slices are unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm apart"
    if "uneven_spacing" not in accept:
        raise ScanError(name, what, _CONVERT.format("uneven_spacing"))
    return step, n_slices, [f"{what}: interpolated to {step:.2f} mm"]


def _sideways(
    offsets: np.ndarray, spacing: tuple[float, float], name: str, accept: Collection[str]
) -> tuple[np.ndarray, list[str]]:
    """Shift within the plane for each mm along the normal, (2,); zero unless a tilt was accepted."""
    tolerance = _SIDEWAYS_TOLERANCE * min(spacing)
    aside, heights = offsets[:, :2], offsets[:, 2]
    if np.abs(aside).max() <= tolerance:
        return np.zeros(2), []
    shear = aside[-1] / heights[-1]
    angle = float(np.degrees(np.arctan(np.linalg.norm(shear))))
    if np.abs(aside - heights[:, None] * shear).max() > tolerance:
        raise ScanError(name, "its slices are shifted against each other and form no straight stack", _EXPORT)
    what = f"the gantry was tilted by {angle:.1f} degrees, so the slices are no rectangular block"
    if "gantry_tilt" not in accept:
        raise ScanError(name, what, _CONVERT.format("gantry_tilt"))
    return shear, [f"{what}: the affine is sheared"]
