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

from ...utils import ScanError

__all__ = [
    "BrainMask",
    "ValidateScan",
    "background_value",
    "check_affine",
    "check_finite",
    "check_shape",
    "foreground",
]

_BACKGROUND_TOLERANCE = 1e-3
_MAX_BRAIN_ML = 2300.0
_MAX_AXIAL_AREA_MM2 = 26000.0
_MAX_SIDE_CONTACT = 0.15
_MAX_SATURATED = 0.05
_MIN_VALUES = 8
# From microscopes to whole bodies no scan of a head lies outside of these.
_VOXEL_MM = (0.1, 15.0)
_MAX_EXTENT_MM = 1000.0
_STRIP = (
    "add --brain_extraction hd-bet (MR) or --brain_extraction head-ct (CT), or --brain_extraction given if you have "
    "brain masks; if it is brain only, add --allow_unstripped True"
)


def _border(volume: np.ndarray) -> np.ndarray:
    """All voxels on the six faces; of a single slice, on its four sides."""
    axes = [axis for axis in range(volume.ndim) if volume.shape[axis] > 1]
    return np.concatenate([np.take(volume, i, axis).ravel() for axis in axes for i in (0, -1)])


def background_value(volume: np.ndarray) -> float:
    """The most common value on the faces of a volume (X, Y, Z): what skull-stripping left outside the brain."""
    values, counts = np.unique(_border(volume), return_counts=True)
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
    out = np.zeros(image.shape[1:], dtype=bool)
    for channel in image:
        distance = np.abs(channel - background_value(channel))
        out |= distance > _BACKGROUND_TOLERANCE * float(distance.max())
    return out


class BrainMask(Transform):
    """
    Brain mask of a skull-stripped scan: foreground, its largest connected component, holes filled.

    The background is the most common value on the volume's faces, so it need not be 0, and values inside the brain
    may be negative or equal to it.

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
        image = np.asarray(convert_data_type(img, np.ndarray)[0])
        if self.pictures and not _has_frame(image):
            inside = np.ones(image.shape[1:], dtype=bool)
        else:
            inside = foreground(image)
        if not inside.any():
            raise ValueError("the scan has no foreground.")
        mask = _fill_holes(get_largest_connected_component_mask(inside))[None].astype(np.uint8)
        out = convert_to_dst_type(mask, img, dtype=torch.uint8 if isinstance(img, torch.Tensor) else np.uint8)[0]
        if isinstance(out, MetaTensor):
            out.applied_operations = []
        return out


def _has_frame(image: np.ndarray) -> bool:
    """True if most of a picture's border is exactly 0 in all channels: something was cut out of it."""
    border = np.stack([_border(channel) for channel in image])
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
            _check_values(channel, name)
        if not self.allow_unstripped and not self.pictures:
            self._check_stripped(image, img, files[0])
        return img

    def _check_channels(self, channels: int, file: str) -> None:
        n = self.in_channels
        if n is not None and channels != n:
            given = f"{channels} sequence{'s' if channels > 1 else ''}, but the network takes {n}"
            wanted = f"a list of {n} files for each subject, in the order of training" if n > 1 else "one file"
            raise ScanError(file, given, f"give {wanted}, or set in_channels and train anew")

    @staticmethod
    def _check_stripped(image: np.ndarray, img: NdarrayOrTensor, file: str) -> None:
        affine = img.affine.numpy() if isinstance(img, MetaTensor) else np.eye(4)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # World axis (0 left-right, 1 posterior-anterior, 2 inferior-superior) that each voxel axis mostly follows.
        world = np.abs(affine[:3, :3] / spacing).argmax(axis=0)
        inside = foreground(image)
        contact = (
            max(float(np.take(inside, i, axis).mean()) for axis in range(3) if world[axis] != 2 for i in (0, -1))
            if (world != 2).any()
            else 0.0
        )
        if contact > _MAX_SIDE_CONTACT:
            raise ScanError(file, f"not skull-stripped, as {contact:.0%} of a side face is not background", _STRIP)
        saturated = max(float((channel[inside] == channel.max()).mean()) for channel in image)
        if saturated > _MAX_SATURATED:
            raise ScanError(file, f"not skull-stripped, as {saturated:.0%} of it is saturated like bone in CT", _STRIP)
        volume = inside.sum() * spacing.prod() / 1000
        if volume > _MAX_BRAIN_ML:
            raise ScanError(file, f"not skull-stripped, as {volume:.0f} ml is more than any brain", _STRIP)
        up = int(np.flatnonzero(world == 2)[0]) if (world == 2).any() else 2
        in_plane = tuple(axis for axis in range(3) if axis != up)
        area = inside.sum(axis=in_plane).max() * spacing[list(in_plane)].prod()
        if area > _MAX_AXIAL_AREA_MM2:
            raise ScanError(file, f"not skull-stripped, as an axial slice of {area / 100:.0f} cm2 is too large", _STRIP)


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


def check_finite(image: np.ndarray, file: str) -> None:
    """Refuse NaN and infinite values."""
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise ScanError(
            file, f"{bad} voxels are NaN or infinite", "set them to the background value or export it again"
        )


def _check_values(channel: np.ndarray, file: str) -> None:
    check_finite(channel, file)
    low, high = float(channel.min()), float(channel.max())
    if low == high:
        what = "all voxels are zero" if low == 0 else f"all voxels have the same value ({low:g})"
        raise ScanError(file, what, "check how it was exported")
    distance = np.abs(channel - background_value(channel))
    inside = channel[distance > _BACKGROUND_TOLERANCE * float(distance.max())]
    n = len(np.unique(inside[:: max(1, inside.size // 100_000)]))
    if n < _MIN_VALUES:
        what = "constant inside the brain" if n == 1 else f"only {n} different values inside the brain"
        raise ScanError(file, what, "give the scan itself, not a mask or a label map")
