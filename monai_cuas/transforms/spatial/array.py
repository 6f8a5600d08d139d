# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Padding to a square that is square in millimetres."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Pad

__all__ = ["PadToPhysicalSquare"]


class PadToPhysicalSquare(Pad):
    """
    Pad the first two spatial axes, centrally, until both have the same length in millimetres.

    With unequal pixel sizes the two axes then have unequal numbers of pixels, and resizing to a square image keeps
    the anatomy's proportions. The inverse is that of :class:`monai.transforms.Pad`.

    Args:
        margin_mm: free border on each side of the longer axis, in mm.
        mode: padding mode, see :class:`monai.transforms.Pad`.
        lazy: see :class:`monai.transforms.Pad`.
        kwargs: other arguments of the padding function.

    Raises:
        ValueError: if ``margin_mm`` is negative.
    """

    def __init__(self, margin_mm: float = 0.0, mode: str = "constant", lazy: bool = False, **kwargs: Any) -> None:
        if margin_mm < 0:
            raise ValueError(f"margin_mm must not be negative, got {margin_mm}.")
        super().__init__(None, mode, lazy, **kwargs)
        self.margin_mm = margin_mm

    def __call__(self, img: torch.Tensor, to_pad: Any = None, mode: str | None = None, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        """
        Args:
            img: (C, X, Y[, Z]); the voxel size is taken from a MetaTensor's affine, and is 1 mm otherwise.
            to_pad: not used; the width follows from the voxel size.
            mode: padding mode.
            kwargs: passed on to :class:`monai.transforms.Pad`.

        Returns:
            The padded image.
        """
        shape = img.peek_pending_shape() if isinstance(img, MetaTensor) else img.shape[1:]
        spacing = img.pixdim.tolist() if isinstance(img, MetaTensor) else [1.0] * len(shape)
        widths: Any = self.pad_width(shape, spacing)
        return super().__call__(img, widths, mode, **kwargs)

    def pad_width(self, shape: Any, spacing: Any) -> tuple[tuple[int, int], ...]:
        """Voxels to add before and after each axis, the channel axis first."""
        side = max(n * mm for n, mm in zip(shape[:2], spacing[:2])) + 2 * self.margin_mm
        widths = [(0, 0)]
        for n, mm in zip(shape[:2], spacing[:2]):
            # The tolerance keeps a side that is a whole number of voxels from growing by one through rounding.
            missing = max(math.ceil(side / mm - 1e-3), n) - n
            widths.append((missing // 2, missing - missing // 2))
        return (*widths, *[(0, 0)] * (len(shape) - 2))
