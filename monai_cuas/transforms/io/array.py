# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Checks on a loaded scan, and the brain mask that a skull-stripped scan carries in itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.transforms.utils import get_largest_connected_component_mask
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage
from skimage import measure

from ...utils import ScanError
from .background import border_of, find_foreground, foreground, plain_foreground, why_unstripped
from .content import MIN_VALUES, content_of, count_values

__all__ = [
    "BrainMask",
    "ValidateScan",
    "check_brain_volume",
    "check_affine",
    "check_finite",
    "check_shape",
    "foreground",
    "skull_in_view",
    "unstripped_error",
]

# From microscopes to whole bodies no scan of a head lies outside of these.
_VOXEL_MM = (0.1, 15.0)
_MAX_EXTENT_MM = 1000.0
# A part counts if it is this large in comparison with the largest; what all others hold is said, or refused.
_MIN_PART = 0.05
_DROPPED_TO_NOTE = 0.02
_DROPPED_TO_REFUSE = 0.25
# A few slices of a small brain are more.
_MIN_BRAIN_ML = 10.0
_PART_OF_BRAIN_ML = 500.0
# Of a map of a statistic: share of either sign, and how far the rim lies from the rest, in standard deviations.
_MIN_NEGATIVE = 0.2
_RIM_APART = 0.25
_NOT_A_SCAN = "give the scan itself, not a mask, a label map or another map"
_STRIP = (
    "add --brain_extraction hd-bet (MR) or --brain_extraction head-ct (CT), or --brain_extraction given if you have "
    "brain masks (also right for a brain on an unusual background); a brain without skull that the field of view cuts "
    "off is let through by --allow_unstripped True"
)


class BrainMask(Transform):
    """
    Brain mask of a skull-stripped scan: foreground, its connected components of relevant size, holes filled.

    The background is the most common value on the volume's faces, so it need not be 0, and values inside the brain
    may be negative or equal to it; see :func:`find_foreground` for backgrounds that are not one constant. A component
    counts if it has at least a twentieth of the largest one's voxels: a black slice does not cost half of a brain.

    Args:
        pictures: the image is a picture: unless most of its border is exactly 0, all of it is foreground.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, pictures: bool = False) -> None:
        self.pictures = pictures

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: (C, X, Y, Z), Z = 1 for a picture.

        Returns:
            (1, X, Y, Z) uint8 of the input's type, on its grid.

        Raises:
            ValueError: if there is no foreground.
        """
        return self.with_notes(img)[0]

    def with_notes(self, img: NdarrayOrTensor) -> tuple[NdarrayOrTensor, tuple[str, ...]]:
        """The mask, and what is unusual about the background or the pieces of the brain."""
        image = np.asarray(convert_data_type(img, np.ndarray)[0])
        if self.pictures:
            inside = foreground(image) if _has_frame(image) else np.ones(image.shape[1:], dtype=bool)
            notes: tuple[str, ...] = ()
        else:
            inside, notes = find_foreground(image, _affine(img))
        if not inside.any():
            raise ValueError("the scan has no foreground.")
        parts, said = (get_largest_connected_component_mask(inside), ()) if self.pictures else _relevant_parts(inside)
        filled = _fill_holes(parts)
        if not self.pictures and like_statistic(image, filled):
            said = (*said, "values of both signs without a rim of fluid: this looks like a map of a statistic")
        mask = filled[None].astype(np.uint8)
        out = convert_to_dst_type(mask, img, dtype=torch.uint8 if isinstance(img, torch.Tensor) else np.uint8)[0]
        if isinstance(out, MetaTensor):
            out.applied_operations = []
        return out, (*notes, *said)


def _affine(img: NdarrayOrTensor) -> np.ndarray:
    return img.affine.numpy() if isinstance(img, MetaTensor) else np.eye(4)


def _relevant_parts(inside: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The connected components that count, and what is to be said of the others."""
    parts = measure.label(inside)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    keep = sizes >= max(1, _MIN_PART * sizes.max())
    dropped = float(sizes[~keep].sum() / sizes.sum())
    if dropped > _DROPPED_TO_REFUSE:
        raise ValueError(
            f"the foreground falls into {int((sizes > 0).sum())} pieces, most of them too small to be brain."
        )
    notes = []
    if keep.sum() > 1:
        notes.append(f"the brain lies in {int(keep.sum())} separate pieces, which all count")
    if dropped > _DROPPED_TO_NOTE:
        notes.append(f"{dropped:.1%} of the foreground lies in small pieces apart from the brain and does not count")
    return keep[parts], tuple(notes)


def like_statistic(image: np.ndarray, mask: np.ndarray) -> bool:
    """
    Whether a channel looks like a map of a statistic: both signs about a median near 0, and a rim like the inside.

    The rim of a brain holds fluid and looks different in a scan. One that was standardised to mean 0 and spread 1 is a
    scan.

    Args:
        image: (C, X, Y, Z).
        mask: (X, Y, Z) brain.
    """
    for channel in image:
        values = channel[mask].astype(np.float64)
        mean, spread = float(values.mean()), float(values.std())
        negative = float((values < 0).mean())
        standard = abs(mean) < 0.01 and abs(spread - 1) < 0.01
        if standard or not _MIN_NEGATIVE < negative < 1 - _MIN_NEGATIVE:
            continue
        rim = mask & ~ndimage.binary_erosion(mask)
        if rim.any() and abs(float(channel[rim].mean()) - mean) < _RIM_APART * spread:
            return True
    return False


def _has_frame(image: np.ndarray) -> bool:
    """True if most of a picture's border is exactly 0 in all channels: something was cut out of it."""
    border = np.stack([border_of(channel) for channel in image])
    return bool((border == 0).all(axis=0).mean() > 0.5)


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill inside the bounding box: filling is slow, and most of a volume is air."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    out = mask.copy()
    # Squeezed, as every hole of a single slice is open to both sides of it.
    out[box] = ndimage.binary_fill_holes(mask[box].squeeze()).reshape(mask[box].shape)
    return out


class ValidateScan(Transform):
    """
    Refuse what is not one skull-stripped 3D scan, with a sentence that says what is wrong.

    A head with its skull is known by its size (more than 2300 ml, or an axial slice of more than 260 square
    centimetres), by foreground over more than 15% of a lateral, anterior or posterior face of the volume (a nose or
    an ear cut off, or noise in the air), or by more than 5% of the foreground at the maximum (bone in a windowed CT).
    The top and the bottom face do not count: short acquisitions cut the brain there.

    Args:
        allow_unstripped: take scans that look as if they were not skull-stripped.
        in_channels: number of sequences that there must be; None: any.
        pictures: take one picture, with colours as channels, in place of a volume; nothing is said about skulls.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, allow_unstripped: bool = False, in_channels: int | None = None, pictures: bool = False) -> None:
        self.allow_unstripped, self.in_channels, self.pictures = allow_unstripped, in_channels, pictures

    def __call__(self, img: NdarrayOrTensor, file: str | Sequence[str] = "scan") -> NdarrayOrTensor:
        """
        Args:
            img: (C, X, Y, Z), Z = 1 for a picture.
            file: name for the messages, or the name of each channel's file.

        Returns:
            ``img``, untouched.

        Raises:
            ScanError: if the scan cannot be used.
        """
        files = [file] if isinstance(file, str) else list(file)
        if self.pictures:
            _check_picture(tuple(img.shape), files[0])
        else:
            check_shape(tuple(img.shape), files[0], None if isinstance(file, str) else len(files))
        check_affine(img, files[0])
        self._check_channels(len(img), files[0])
        image = np.asarray(convert_data_type(img, np.ndarray)[0])
        for channel, name in zip(image, files if len(files) == len(image) else files * len(image)):
            _check_values(channel, name, _affine(img))
        if not self.allow_unstripped and not self.pictures:
            why = skull_in_view(img)
            if why:
                raise unstripped_error(files[0], why)
        return img

    def _check_channels(self, channels: int, file: str) -> None:
        n = self.in_channels
        if n is not None and channels != n:
            given = f"{channels} sequence{'s' if channels > 1 else ''}, but the network takes {n}"
            wanted = f"a list of {n} files for each subject, in the order of training" if n > 1 else "one file"
            raise ScanError(file, given, f"give {wanted}, or set in_channels and train anew")


def skull_in_view(img: NdarrayOrTensor) -> str:
    """Why a scan, (C, X, Y, Z), looks as if it were not skull-stripped; empty if it does not."""
    affine = _affine(img)
    image = np.asarray(convert_data_type(img, np.ndarray)[0])
    return why_unstripped(image, find_foreground(image, affine).mask, affine) or ""


def unstripped_error(file: str, why: str, remedy: str = "") -> ScanError:
    """The error of a scan that is not skull-stripped; ``remedy`` goes before what else can be done."""
    return ScanError(file, f"not skull-stripped, as {why}", remedy + _STRIP)


def check_shape(shape: tuple[int, ...], file: str, channels: int | None) -> None:
    """Refuse what is not one 3D volume for each of ``channels`` (None: any number), ``shape`` being (C, X, Y, Z)."""
    spatial = shape[1:]
    if len(spatial) < 3:
        raise ScanError(file, f"{len(spatial)}D image of shape {spatial}", "give a 3D volume")
    if len(spatial) > 3 or (channels is not None and shape[0] != channels):
        raise ScanError(
            file, f"not one 3D volume but several (array of shape {shape})", "extract one 3D volume from it"
        )
    if min(spatial) < 2:
        remedy = "give a 3D volume of several slices, or set pictures for pictures"
        raise ScanError(file, f"a single slice of shape {spatial}", remedy)


def _check_picture(shape: tuple[int, ...], file: str) -> None:
    """Refuse what is not one picture, (C, X, Y, 1)."""
    if len(shape) != 4 or shape[3] != 1:
        raise ScanError(file, f"not a picture but an array of shape {shape[1:]}", "leave pictures off for volumes")


def check_affine(img: NdarrayOrTensor, file: str) -> None:
    """Refuse an affine matrix that cannot be inverted, and voxels or volumes of a size that no scan of a head has."""
    if not isinstance(img, MetaTensor):
        return
    affine = img.affine.numpy()
    remedy = "repair the header or convert the scan again"
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (sizes == 0).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        raise ScanError(file, "its affine matrix is not invertible", remedy)
    if sizes.min() < _VOXEL_MM[0] or sizes.max() > _VOXEL_MM[1]:
        listed = " x ".join(f"{size:.4g}" for size in sizes)
        raise ScanError(
            file, f"voxels of {listed} mm are implausible", f"{remedy}; it may state a wrong unit of length"
        )
    extent = float((sizes * np.asarray(img.shape[-3:])).max())
    if extent > _MAX_EXTENT_MM and img.shape[-1] > 1:
        raise ScanError(file, f"a field of view of {extent:.0f} mm is implausible", remedy)


def check_brain_volume(mask: NdarrayOrTensor, file: str) -> list[str]:
    """Refuse a brain mask, (1, X, Y, Z), smaller than what any scan shows of a brain; a note if it is a part of one."""
    volume = float((np.asarray(mask) > 0).sum() * abs(np.linalg.det(_affine(mask)[:3, :3])) / 1000)
    if volume < _MIN_BRAIN_ML:
        raise ScanError(file, f"a brain of {volume:.3g} ml is implausible", "check the scan and its brain mask")
    if volume < _PART_OF_BRAIN_ML:
        return [f"only {volume:.0f} ml of brain are in view, and what is found in a part of one is unreliable"]
    return []


def check_finite(image: np.ndarray, file: str) -> None:
    """Refuse NaN and infinite values."""
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise ScanError(
            file, f"{bad} voxels are NaN or infinite", "set them to the background value or export it again"
        )


def _check_values(channel: np.ndarray, file: str, affine: np.ndarray) -> None:
    check_finite(channel, file)
    low, high = float(channel.min()), float(channel.max())
    if low == high:
        what = "all voxels are zero" if low == 0 else f"all voxels have the same value ({low:g})"
        raise ScanError(file, what, "check how it was exported")
    # What is one value of a mask looks like padding: then the plain foreground tells what is wrong.
    plain, inside = plain_foreground(channel), foreground(channel[None])
    _check_contrast(channel, inside if count_values(channel[inside]) >= MIN_VALUES else plain, file)
    if min(channel.shape) > 1 and content_of(channel, plain, affine).kind:
        found = content_of(channel, inside, affine)
        if found.kind:
            raise ScanError(file, found.why, _NOT_A_SCAN)


def _check_contrast(channel: np.ndarray, inside: np.ndarray, file: str) -> None:
    values = channel[inside]
    n = count_values(values)
    if n >= MIN_VALUES:
        return
    if values.size < MIN_VALUES:
        raise ScanError(file, f"all voxels but {values.size} have the same value", "check how it was exported")
    what = "constant inside the brain" if n == 1 else f"only {n} different values inside the brain"
    raise ScanError(file, what, _NOT_A_SCAN)
