# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
The one rule by which a NIfTI header says where its voxels lie (docs/explanation/geometry.md).

A header says it up to three times: sform, qform and pixdim. MONAI's reader takes the qform without a word when sform
and pixdim differ, and nibabel takes a matrix that is singular. Here a contradiction is an error or a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np

__all__ = ["GeometryError", "HeaderForm", "form_of", "grid_of"]

_SCALES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_UNITS = {1: "metre", 3: "micron"}
_KNOWN_CODES = range(6)
# A quaternion of single precision is exact to about 1e-7; more than this is no rotation at all.
_QUATERNION_TOLERANCE = 1e-3
_SIZE_TOLERANCE = 0.01
_SHIFT_TOLERANCE = 0.1
_MAX_TURN_DEGREES = 45.0
_MIN_VOLUME_SHARE = 0.2
_SHEAR_DEGREES = 1.0


class GeometryError(ValueError):
    """A header that contradicts itself; the text says in what, without a full stop."""


@dataclass(frozen=True)
class HeaderForm:
    """
    What a NIfTI header says of its grid, as it says it.

    Args:
        sform_code, qform_code: as in the header.
        units: xyzt_units, of which the lowest three bits are the unit of length: 0 (unknown), 1 (metre), 2 (mm), 3
            (micron).
        pixdim: (4,) qfac and the voxel's size.
        quaternion, offset: (3,) each, of the qform.
        sform: (3, 4).
    """

    sform_code: int
    qform_code: int
    units: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    sform: tuple[float, ...]

    @classmethod
    def of(cls, header: Any) -> HeaderForm:
        """From a header of nibabel."""

        def numbers(*names: str) -> tuple[float, ...]:
            return tuple(float(v) for name in names for v in np.atleast_1d(header[name]))

        return cls(
            int(header["sform_code"]),
            int(header["qform_code"]),
            int(header["xyzt_units"]),
            numbers("pixdim")[:4],
            numbers("quatern_b", "quatern_c", "quatern_d"),
            numbers("qoffset_x", "qoffset_y", "qoffset_z"),
            numbers("srow_x", "srow_y", "srow_z"),
        )

    @classmethod
    def without_orientation(cls, sizes: Sequence[float]) -> HeaderForm:
        """Of a format that states voxel sizes in mm and nothing else."""
        return cls(0, 0, 2, (1.0, *map(float, sizes)), (0.0,) * 3, (0.0,) * 3, (0.0,) * 12)

    @property
    def scale(self) -> float:
        """Millimetres in the header's unit of length; an unknown one counts as mm."""
        return _SCALES.get(self.units & 7, 1.0)

    def to_array(self) -> np.ndarray:
        """(25,) float64: an array passes MONAI's collating, an object does not."""
        codes = [self.sform_code, self.qform_code, self.units]
        return np.asarray([*codes, *self.pixdim, *self.quaternion, *self.offset, *self.sform], dtype=np.float64)

    @classmethod
    def from_array(cls, array: Any) -> HeaderForm:
        """Undo :meth:`to_array`."""
        v = [float(x) for x in np.asarray(array, dtype=np.float64).ravel()]
        codes = [int(x) for x in v[:3]]
        return cls(codes[0], codes[1], codes[2], tuple(v[3:7]), tuple(v[7:10]), tuple(v[10:13]), tuple(v[13:25]))

    def write(self, header: Any) -> None:
        """Put it into a header of nibabel, number by number."""
        header["sform_code"], header["qform_code"] = self.sform_code, self.qform_code
        header["xyzt_units"] = self.units
        header["pixdim"][:4] = self.pixdim
        for names, values in (("bcd", self.quaternion), ("xyz", self.offset)):
            for name, value in zip(names, values):
                header[f"{'quatern' if names == 'bcd' else 'qoffset'}_{name}"] = value
        for k, name in enumerate("xyz"):
            header[f"srow_{name}"] = self.sform[4 * k : 4 * k + 4]


def form_of(meta: Mapping[str, Any]) -> np.ndarray | None:
    """The array of the header form in the metadata of an image; None if it was no NIfTI."""
    form = meta.get("nifti_form")
    return None if form is None else np.asarray(form, dtype=np.float64).ravel()


def grid_of(form: HeaderForm, shape: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """
    The grid of a volume, in millimetres.

    The sform counts if its code is not 0, else the qform, else a guess. A matrix that is no matrix of
    space (singular, not finite) gives way to the other one, with a note; so does a difference of position or direction.
    What the voxel's size is must be agreed upon.

    Args:
        form: what the header says.
        shape: (X, Y, Z).

    Returns:
        (4, 4) voxel to RAS in mm, and the notes.

    Raises:
        GeometryError: if the header contradicts itself or states nothing that can be used.
    """
    notes = _unit_notes(form)
    sizes, size_notes = _sizes(form)
    sform, why_no_sform = _sform(form)
    qform, why_no_qform = _qform(form, sizes)
    if sform is not None:
        affine = sform
        _check_sizes(affine, sizes)
        if qform is not None:
            notes += _differences(sform, qform, shape, form)
    elif qform is not None:
        affine = qform
    elif form.sform_code == 0 and form.qform_code == 0:
        affine = _guess(form, sizes, shape)
        notes.append("the header states no orientation (sform_code and qform_code are 0): left and right are a guess")
    else:
        raise GeometryError("; ".join(why for why in (why_no_sform, why_no_qform) if why))
    notes += [f"{why}: the other matrix counts" for why in (why_no_sform, why_no_qform) if why]
    notes += size_notes
    notes += _shear_note(affine)
    scaled = affine.copy()
    scaled[:3] *= form.scale
    return scaled, notes


def _unit_notes(form: HeaderForm) -> list[str]:
    notes = [
        f"{name} is {code}, which the standard does not know"
        for name, code in (("sform_code", form.sform_code), ("qform_code", form.qform_code))
        if code not in _KNOWN_CODES
    ]
    unit = form.units & 7
    if unit in _UNITS:
        notes.append(f"lengths are in {_UNITS[unit]}s (xyzt_units): converted to mm")
    elif unit not in _SCALES:
        notes.append(f"the unit of length {unit} (xyzt_units) is unknown: taken as mm")
    return notes


def _sizes(form: HeaderForm) -> tuple[np.ndarray | None, list[str]]:
    """The voxel's size that pixdim states, (3,) in the header's unit; None if it states none."""
    stated = np.asarray(form.pixdim[1:4], dtype=np.float64)
    if not np.isfinite(stated).all() or (stated == 0).any():
        return None, [f"pixdim states no size of the voxel ({_listed(stated)})"]
    return np.abs(stated), ["pixdim is negative: its sign was left out"] if (stated < 0).any() else []


def _listed(values: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _sform(form: HeaderForm) -> tuple[np.ndarray | None, str | None]:
    """The matrix, or why there is none that can be used (nothing to say if its code is 0)."""
    if form.sform_code == 0:
        return None, None
    affine = np.vstack([np.asarray(form.sform, dtype=np.float64).reshape(3, 4), [0, 0, 0, 1]])
    if not np.isfinite(affine).all():
        return None, "the sform is not finite"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < _MIN_VOLUME_SHARE:
        return None, "the sform is singular or nearly so"
    return affine, None


def _qform(form: HeaderForm, sizes: np.ndarray | None) -> tuple[np.ndarray | None, str | None]:
    """As :func:`_sform`."""
    if form.qform_code == 0:
        return None, None
    b_c_d, offset = np.asarray(form.quaternion, dtype=np.float64), np.asarray(form.offset, dtype=np.float64)
    if not (np.isfinite(b_c_d).all() and np.isfinite(offset).all()) or not np.isfinite(form.pixdim[0]):
        return None, "the qform is not finite"
    if sizes is None:
        return None, "the qform lacks the size of a voxel"
    square = float(b_c_d @ b_c_d)
    if square > 1 + _QUATERNION_TOLERANCE:
        return None, "the quaternion of the qform is no rotation"
    exact = nib.Nifti1Header.quaternion_threshold
    quaternion = nib.quaternions.fillpositive(b_c_d, exact) if square < 1 - exact else np.array([0.0, *b_c_d])
    # The standard takes 0 for 1, and what is below 0 for -1.
    qfac = -1 if form.pixdim[0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = nib.quaternions.quat2mat(quaternion) @ np.diag(sizes * (1, 1, qfac))
    affine[:3, 3] = offset
    return affine, None


def _check_sizes(sform: np.ndarray, sizes: np.ndarray | None) -> None:
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if sizes is not None and np.abs(lengths / sizes - 1).max() > _SIZE_TOLERANCE:
        raise GeometryError(
            f"its header contradicts itself: voxels of {_listed(lengths)} by the sform, of {_listed(sizes)} by pixdim"
        )


def _differences(sform: np.ndarray, qform: np.ndarray, shape: Sequence[int], form: HeaderForm) -> list[str]:
    """What sform and qform do not agree in."""
    # Exporters leave qfac at 0 whatever the matrix.
    handed = form.pixdim[0] in (-1.0, 1.0)
    turn = (sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0)) @ np.linalg.inv(
        qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0)
    )
    if handed and np.linalg.det(turn) < 0:
        raise GeometryError("its header contradicts itself: left and right are swapped between sform and qform")
    if np.linalg.det(turn) < 0:
        return ["pixdim[0] states no handedness for the qform: the sform counts"]
    angle = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    if angle > _MAX_TURN_DEGREES:
        raise GeometryError(
            f"its header contradicts itself: sform and qform differ in direction by {angle:.0f} degrees"
        )
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in shape[:3]], [1], indexing="ij")).reshape(4, -1)
    apart = float(np.linalg.norm(((sform - qform) @ ends)[:3], axis=0).max())
    if apart <= _SHIFT_TOLERANCE * np.linalg.norm(sform[:3, :3], axis=0).min():
        return []
    millimetres = apart * form.scale
    return [f"sform and qform lie up to {millimetres:.4g} mm apart: the sform counts"]


def _shear_note(affine: np.ndarray) -> list[str]:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(np.triu(axes.T @ axes, 1)).max())
    angle = float(np.degrees(np.arcsin(min(1.0, cosine))))
    return [f"the grid is sheared by {angle:.1f} degrees"] if angle > _SHEAR_DEGREES else []


def _guess(form: HeaderForm, sizes: np.ndarray | None, shape: Sequence[int]) -> np.ndarray:
    """Of a header whose codes say that its matrices mean nothing: the sform if it fits the voxel's size, or none."""
    if sizes is None:
        raise GeometryError("its header states neither an orientation nor the size of a voxel")
    sform = _sform(replace(form, sform_code=1))[0]
    lengths = np.zeros(3) if sform is None else np.linalg.norm(sform[:3, :3], axis=0)
    fits = sform is not None and np.abs(lengths / sizes - 1).max() <= _SIZE_TOLERANCE
    return sform if sform is not None and fits else _centred(sizes, shape)


def _centred(sizes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """As nibabel (and SPM) place a volume without orientation: first axis to the left, origin in the middle."""
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape[:3]) - 1) / 2)
    return affine
