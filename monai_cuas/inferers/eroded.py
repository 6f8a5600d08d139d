# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A map as the authors' releases finish it: nothing at the brain's edge, on request each slice on its own scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.utils import convert_to_tensor

from ..losses import eroded
from ..utils import RecordsArguments
from .brain import brain_of

__all__ = ["ErodedSliceInferer"]


class ErodedSliceInferer(RecordsArguments, SliceInferer):
    """
    MONAI's ``SliceInferer`` whose map is 0 outside the eroded brain (Silva-Rodriguez et al., both releases).

    What is cut off is never found and never a false finding: methods with and without it must not be compared.

    Args:
        erosion: side in pixels of the square by which each slice's brain is eroded; there 6 for MR, 3 for CT, of 224.
        scale_slices: True scales each slice from its lowest value in the eroded brain to its highest at all, as the
            first release does.
        kwargs: of ``SliceInferer``.

    Raises:
        ValueError: if ``erosion`` is negative.
    """

    def __init__(self, *args: Any, erosion: int = 6, scale_slices: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if erosion < 0:
            raise ValueError(f"erosion must be a side in pixels or 0, got {erosion}.")
        self.erosion, self.scale_slices = erosion, scale_slices

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: gives the map of slices.

        Returns:
            Map of shape (B, 1, X, Y, Z); 0 outside the eroded brain.
        """
        maps = _plain(super().__call__(inputs, network, *args, **kwargs))
        brain = brain_of(inputs)
        axis = 2 + int(self.spatial_dim)
        slices, inside = maps.movedim(axis, 1).flatten(0, 1), brain.movedim(axis, 1).flatten(0, 1)
        inside = eroded(inside.float(), self.erosion)
        if self.scale_slices:
            slices = _scaled(slices, inside)
        shape = maps.movedim(axis, 1).shape
        return torch.where(inside, slices, 0.0).view(shape).movedim(1, axis)


def _plain(tensor: Any) -> torch.Tensor:
    return convert_to_tensor(tensor, track_meta=False)  # type: ignore[return-value]


def _scaled(maps: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    low = maps.masked_fill(~inside, torch.inf).amin(dim=(2, 3), keepdim=True)
    # a slice without brain has no lowest value, and is 0 in the end
    shifted = maps - torch.where(low.isfinite(), low, 0.0)
    return shifted / shifted.amax(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
