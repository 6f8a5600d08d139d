# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What of a volume is background: the constant that skull-stripping left, and what other programs make of it.

For a scan whose background is one exact constant, which is the rule, the foreground is every voxel that differs from
it. Resampling, registration and denoising leave other things there: a second constant where the moving image ended,
ringing around the brain, a little noise, one voxel of 1e9. Each is known by a sign that a clean scan does not show, so
clean scans are not touched by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

__all__ = [
    "Foreground",
    "background_value",
    "border_of",
    "find_foreground",
    "foreground",
    "plain_foreground",
    "why_unstripped",
    "without_missing_outside",
]

_TOLERANCE = 1e-3
# A voxel is an outlier if it is this many times further from the background than this share of the foreground.
_OUTLIERS = ((0.99, 20.0), (0.9, 200.0))
_HEADROOM = 2.0
_PADDING_SHARE = 0.01
_PADDING_SIZE = 0.002
_PADDING_CORE = 0.25
_SAMPLE = 200_000
# Noise of a scanner in the air is a hundredth of the signal or more, and a sign of a head with its skull.
_NOISE_REACH = 0.01
_NOISE_SIZE = 0.002
_NOISE_SHARE = 0.1
_NOISE_WIDTHS = 5.0
_RINGING = (0.005, 0.01, 0.02, 0.03)
_MAX_OVERSHOOT = 0.2
_MIN_RINGING = 0.03
_MIN_SATURATED_VOXELS = 1000
_MAX_BRAIN_ML = 2300.0
_MAX_AXIAL_AREA_MM2 = 26000.0
_MAX_SIDE_CONTACT = 0.15
_MAX_SATURATED = 0.05


class Foreground(NamedTuple):
    """
    Args:
        mask: (X, Y, Z) boolean.
        notes: what was unusual in the background.
    """

    mask: np.ndarray
    notes: tuple[str, ...]


def border_of(volume: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """All voxels on the six faces, or on those across some axes; of a single slice, on its four sides."""
    chosen = [axis for axis in axes or range(volume.ndim) if volume.shape[axis] > 1]
    return np.concatenate([np.take(volume, i, axis).ravel() for axis in chosen for i in (0, -1)])


def background_value(volume: np.ndarray) -> float:
    """The most common value on the faces of a volume (X, Y, Z): what skull-stripping left outside the brain."""
    values, counts = np.unique(border_of(volume), return_counts=True)
    return float(values[counts.argmax()])


def foreground(image: np.ndarray) -> np.ndarray:
    """
    Voxels that differ from the background in any channel.

    The tolerance, a thousandth of the channel's range, takes up the ringing that resampling leaves.

    Args:
        image: (C, X, Y, Z).

    Returns:
        (X, Y, Z) boolean.
    """
    return find_foreground(image).mask


def find_foreground(image: np.ndarray, affine: np.ndarray | None = None) -> Foreground:
    """
    Foreground of a scan, with the notes on its background.

    Args:
        image: (C, X, Y, Z).
        affine: (4, 4), by which the sides are told from top and bottom, and a brain from a head; None: voxels of 1 mm,
            and no second try for what does not look skull-stripped.
    """
    sides = _side_axes(np.eye(4) if affine is None else affine)
    channels = [_channel_foreground(channel, sides) for channel in image]
    found = _join(channels)
    if affine is None or not why_unstripped(image, found.mask, affine) or not all(map(_is_clean, image)):
        return found
    for tolerance in _RINGING:
        second = _join([_channel_foreground(channel, sides, tolerance) for channel in image])
        if second.mask.any() and not why_unstripped(image, second.mask, affine):
            return second
    return found


def _is_clean(channel: np.ndarray) -> bool:
    """Whether most of the faces is one constant, but for what resampling leaves: not so in the air around a head."""
    apart = np.abs(channel - background_value(channel))
    return bool((border_of(apart) <= _TOLERANCE * _top(apart)[0]).mean() > 0.5)


def plain_foreground(channel: np.ndarray) -> np.ndarray:
    """Voxels (X, Y, Z) that differ from the most common value on the faces, and nothing more."""
    distance = np.abs(channel - background_value(channel))
    return np.asarray(distance > _TOLERANCE * _top(distance)[0])


def _join(channels: list[Foreground]) -> Foreground:
    mask = np.logical_or.reduce([one.mask for one in channels])
    return Foreground(mask, tuple(dict.fromkeys(note for one in channels for note in one.notes)))


def _side_axes(affine: np.ndarray) -> tuple[int, ...]:
    """Voxel axes that do not run up and down."""
    return tuple(int(axis) for axis in np.flatnonzero(_world_axes(affine) != 2))


def _world_axes(affine: np.ndarray) -> np.ndarray:
    """World axis (0 left-right, 1 posterior-anterior, 2 inferior-superior) that each voxel axis mostly follows."""
    return np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax(axis=0)


def _channel_foreground(channel: np.ndarray, sides: tuple[int, ...], least: float = 0.0) -> Foreground:
    """``least``: tolerance for what resampling leaves, as a share of the range."""
    value, notes = background_value(channel), []
    paddings = list(_paddings(channel, value, sides))
    if paddings:
        channel = channel.copy()
        for _, region in paddings:
            channel[region] = value
    distance = np.abs(channel - value)
    top, outliers = _top(distance)
    if outliers:
        notes.append(f"{outliers} voxel(s) lie far beyond all others and do not count for the range of values")
    tolerance = _TOLERANCE * top
    noise = _noise(channel, value, top, sides)
    if noise > tolerance:
        tolerance = noise
        notes.append(f"the background is noisy: values within {noise:.3g} of {value:.6g} count as background")
    if least:
        tolerance = max(tolerance, least * top, _overshoot(channel, value, top))
        notes.append(
            f"the background is not one constant, as after resampling: values within {tolerance:.3g} of {value:.6g} "
            "count as background"
        )
    elif _rings(channel, value, top, tolerance):
        notes.append("values on both sides of the background lie around the brain, as after resampling by splines")
    for padding, region in paddings:
        if abs(padding - value) > tolerance:
            notes.append(f"{int(region.sum())} voxels of {padding:.6g} are padding and count as background")
    return Foreground(np.asarray(distance > tolerance), tuple(notes))


def _top(distance: np.ndarray) -> tuple[float, int]:
    """Largest distance from the background, without single voxels that lie far beyond all others; and their number."""
    top = float(distance.max())
    away = distance[distance > 0]
    if not away.size:
        return top, 0
    for share, factor in _OUTLIERS:
        place = int(share * (away.size - 1))
        usual = float(np.partition(away, place)[place])
        if top > factor * usual:
            return _HEADROOM * usual, int((distance > factor * usual).sum())
    return top, 0


def _noise(channel: np.ndarray, value: float, top: float, sides: tuple[int, ...]) -> float:
    """Reach of a little noise on the sides; 0 if they are clean, or so noisy as the air around a head is."""
    apart = np.abs(border_of(channel, sides) - value) if sides else np.zeros(0)
    near = apart[apart <= _NOISE_REACH * top]
    if near.size < 0.5 * apart.size or (near > _TOLERANCE * top / 10).mean() < _NOISE_SHARE:
        return 0.0
    width = float(near.std())
    return _NOISE_WIDTHS * width if width <= _NOISE_SIZE * top else 0.0


def _overshoot(channel: np.ndarray, value: float, top: float) -> float:
    """How far ringing reaches beyond the background on its other side, outside of what is surely brain."""
    difference = channel - value
    core = ndimage.binary_fill_holes(np.abs(difference) > _MAX_OVERSHOOT * top)
    sign = 1.0 if float(np.median(difference[core])) > 0 else -1.0
    beyond = -sign * difference[~core]
    beyond = beyond[beyond > 0]
    return float(np.quantile(beyond, 0.999)) if beyond.size else 0.0


def _rings(channel: np.ndarray, value: float, top: float, tolerance: float) -> bool:
    """Whether there is ringing about the brain: small values on the side of the background where no tissue lies."""
    difference = channel - value
    low, high = difference < -tolerance, difference > tolerance
    other = low if low.sum() < high.sum() else high
    if other.mean() < _MIN_RINGING / 10:
        return False
    core = ndimage.binary_fill_holes(np.abs(difference) > _MAX_OVERSHOOT * top)
    return bool((other & ~core).sum() > _MIN_RINGING * core.sum() and (other & core).sum() < _MIN_RINGING * core.sum())


def _paddings(channel: np.ndarray, value: float, sides: tuple[int, ...]) -> Iterator[tuple[float, np.ndarray]]:
    """Further constants that fill parts of the outside, each with the voxels that it fills."""
    if min(channel.shape) < 2 or not sides:
        return
    highest, outside = float(channel.max()), channel == value
    sample = channel.ravel()[:: max(1, channel.size // _SAMPLE)]
    for padding in dict.fromkeys([*_frequent(border_of(channel), value), *_frequent(sample, value)]):
        parts, count = ndimage.label(channel == padding)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        large = np.flatnonzero(sizes >= max(_PADDING_SIZE * channel.size, 8))
        # Neither tissue at the top or bottom face nor bone, which CT cuts off at one value, fills part of a side face.
        touching = set(np.unique(border_of(parts, sides)).tolist())
        bulky = [k for k in large if k and k not in touching and padding < highest]
        keep = [k for k in large if k in touching and k] + [k for k in bulky if _is_bulk(parts == k, outside)]
        if keep:
            yield padding, np.isin(parts, keep)


def _frequent(values: np.ndarray, value: float) -> list[float]:
    found, counts = np.unique(values, return_counts=True)
    return [float(v) for v in found[(counts >= _PADDING_SHARE * values.size) & (found != value)]]


def _is_bulk(region: np.ndarray, outside: np.ndarray) -> bool:
    """A thick region beside the background, as padding is; fluid of one value in the furrows of a brain is thin."""
    core = ndimage.binary_erosion(region, np.ones((3, 3, 3)), border_value=1)
    return bool(core.sum() >= _PADDING_CORE * region.sum() and (ndimage.binary_dilation(region) & outside).any())


def why_unstripped(image: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> str | None:
    """
    Why a scan looks like a head with its skull, or None.

    Args:
        image: (C, X, Y, Z).
        inside: (X, Y, Z) its foreground.
        affine: (4, 4).
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    world = _world_axes(affine)
    sides = [float(np.take(inside, i, axis).mean()) for axis in range(3) if world[axis] != 2 for i in (0, -1)]
    contact = max(sides, default=0.0)
    if contact > _MAX_SIDE_CONTACT:
        return f"{contact:.0%} of a side face is not background"
    saturated = max((float((channel[inside] == channel.max()).mean()) for channel in image), default=0.0)
    if inside.sum() > _MIN_SATURATED_VOXELS and saturated > _MAX_SATURATED:
        return f"{saturated:.0%} of it is saturated like bone in CT"
    volume = inside.sum() * spacing.prod() / 1000
    if volume > _MAX_BRAIN_ML:
        return f"{volume:.0f} ml is more than any brain"
    up = int(np.flatnonzero(world == 2)[0]) if (world == 2).any() else 2
    in_plane = tuple(axis for axis in range(3) if axis != up)
    area = inside.sum(axis=in_plane).max() * spacing[list(in_plane)].prod()
    if area > _MAX_AXIAL_AREA_MM2:
        return f"an axial slice of {area / 100:.0f} cm2 is too large"
    return None


def without_missing_outside(image: np.ndarray) -> tuple[np.ndarray, int]:
    """
    Replace what is not finite and connected to the faces, as SPM and FSL leave it outside the brain.

    It becomes the most common finite value of the faces, or 0 if that lies below all others, or a value below them.

    Args:
        image: (C, X, Y, Z).

    Returns:
        The image (the same one if there is nothing to replace), and the number of voxels.
    """
    missing = ~np.isfinite(image)
    if not missing.any():
        return image, 0
    out = image.copy()
    for channel, bad in zip(out, missing):
        parts, _ = ndimage.label(bad)
        outside = np.isin(parts, np.unique(border_of(parts))) & bad
        if outside.any() and not bad.all():
            channel[outside] = _filling(channel, bad)
    return out, int((missing & np.isfinite(out)).sum())


def _filling(channel: np.ndarray, bad: np.ndarray) -> float:
    faces = border_of(channel)
    faces = faces[np.isfinite(faces)]
    values, counts = np.unique(faces, return_counts=True)
    if faces.size and counts.max() > 0.5 * faces.size:
        return float(values[counts.argmax()])
    low, high = float(channel[~bad].min()), float(channel[~bad].max())
    return 0.0 if low > 0 else low - 0.1 * (high - low)
