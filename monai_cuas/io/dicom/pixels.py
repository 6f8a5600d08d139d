# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Stored pixels to numbers: bits, sign and rescaling, as the standard (PS3.5, 8.1.1, and PS3.3, C.7.6.16.2.9) says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .header import discreet, pydicom

__all__ = ["PixelError", "read_frames", "stored_values"]


class PixelError(ValueError):
    """Pixels that cannot be read; the text says why, in words of the standard only."""


def read_frames(file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """
    All frames of a file in the modality's units, as everybody reads them: display transforms have no place in a
    measurement.

    highdicom's own reading fails where a dimension index is private, as Philips writes it, and leaves the bits above
    BitsStored as they are.

    Returns:
        (frames, rows, columns) float64, and notes.

    Raises:
        PixelError: if they cannot be decoded.
    """
    with discreet():
        try:
            dataset = pydicom.dcmread(file, force=True)
            _check_length(dataset)
            raw = _raw(dataset)
            values, spilled = stored_values(raw, dataset)
            frames = np.stack([_rescaled(v, dataset, k) for k, v in enumerate(values)])
        except PixelError:
            raise
        except Exception as error:
            raise PixelError(_reason(dataset if "dataset" in locals() else None, error)) from None
    if not np.isfinite(frames).all():
        raise PixelError("its rescale slope or intercept is not finite")
    return frames, ("bits above BitsStored were set and have been cleared",) if spilled else ()


def _reason(dataset: Any, error: Exception) -> str:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        return "its transfer syntax is not stated"
    if not syntax.is_encapsulated:
        return f"its pixels do not fit what its header says ({type(error).__name__})"
    return f"truncated or damaged, or a compression without a decoder here: {syntax.name} ({type(error).__name__})"


def _check_length(dataset: Any) -> None:
    """Of pixels that are not compressed: pydicom takes what is too long."""
    if "PixelData" not in dataset:
        raise PixelError("it has no pixels")
    syntax = dataset.file_meta.TransferSyntaxUID
    bits = int(dataset.BitsAllocated)
    if syntax.is_encapsulated or bits % 8:
        return
    row = int(dataset.Columns) * bits // 8
    needed = row * int(dataset.Rows) * int(dataset.get("NumberOfFrames", None) or 1)
    given = len(dataset.PixelData)
    if given < needed:
        raise PixelError(f"truncated: it holds {given} bytes of pixels where its header asks for {needed}")
    if given >= needed + max(row, 2):
        raise PixelError(f"its header contradicts its pixels: {given} bytes where it asks for {needed}")


def _raw(dataset: Any) -> np.ndarray:
    """Words of BitsAllocated bits, (frames, rows, columns); pydicom's own decoding clears bits without a word."""
    syntax, bits = dataset.file_meta.TransferSyntaxUID, int(dataset.BitsAllocated)
    shape = (int(dataset.get("NumberOfFrames", None) or 1), int(dataset.Rows), int(dataset.Columns))
    if syntax.is_encapsulated or bits not in (8, 16, 32) or (bits == 8 and not syntax.is_little_endian):
        return np.asarray(pydicom.pixels.pixel_array(dataset, raw=True)).reshape(shape)
    words = np.dtype(f"{'<' if syntax.is_little_endian else '>'}u{bits // 8}")
    return np.frombuffer(dataset.PixelData, words, count=int(np.prod(shape))).reshape(shape)


def stored_values(raw: np.ndarray, dataset: Any) -> tuple[np.ndarray, bool]:
    """
    The bits from HighBit down, BitsStored of them, as a signed or unsigned number.

    Args:
        raw: integers of BitsAllocated bits.
        dataset: with BitsAllocated, BitsStored, HighBit and PixelRepresentation.

    Returns:
        The numbers (int64), and whether other bits were set, beyond a sign that was carried on.
    """
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high, signed = int(dataset.HighBit), bool(int(dataset.PixelRepresentation))
    if not (0 < stored <= allocated and stored - 1 <= high < allocated):
        raise PixelError(
            f"its header contradicts itself: BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}"
        )
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    # A decoder gives the number that was encoded, whatever HighBit says.
    shift = 0 if encapsulated else high + 1 - stored
    words = raw.astype(np.int64) & ((1 << allocated) - 1)
    values = (words >> shift) & ((1 << stored) - 1)
    above = words >> (shift + stored)
    sign = (values >> (stored - 1)) & 1
    carried = sign * ((1 << (allocated - shift - stored)) - 1)
    # Zeros, or the sign carried on to the top, say nothing else.
    spilled = bool(((above != 0) & ~(signed & (above == carried))).any())
    return np.where(signed & (sign == 1), values - (1 << stored), values), spilled


def _rescaled(values: np.ndarray, dataset: Any, frame: int) -> np.ndarray:
    """Modality LUT, or slope and intercept of the frame, of all frames, or of the image."""
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(pydicom.pixels.apply_modality_lut(values, dataset), dtype=np.float64)
    for place in _places(dataset, frame):
        slope, intercept = place.get("RescaleSlope", None), place.get("RescaleIntercept", None)
        if slope not in (None, "") or intercept not in (None, ""):
            factor = 1.0 if slope in (None, "") else float(slope)
            return values.astype(np.float64) * factor + (0.0 if intercept in (None, "") else float(intercept))
    return values.astype(np.float64)


def _places(dataset: Any, frame: int) -> Iterator[Any]:
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in (*frames[frame : frame + 1], *shared[:1]):
        if group.get("PixelValueTransformationSequence"):
            yield group.PixelValueTransformationSequence[0]
    yield dataset
