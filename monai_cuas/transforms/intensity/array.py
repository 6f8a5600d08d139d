# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Intensity in units of the scan's own foreground quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type

from monai_cuas.networks.layers import DEFAULT_LEVELS

__all__ = ["DEFAULT_LEVELS", "ForegroundQuantileScale", "foreground_quantiles"]

_MAX_SAMPLES = 1_000_000
_MIN_FOREGROUND = 1e-3
_MIN_KNOT_DISTANCE = 1e-3


def foreground_quantiles(image: np.ndarray, mask: np.ndarray, levels: Sequence[float] = DEFAULT_LEVELS) -> np.ndarray:
    """
    Quantiles of each channel inside the mask.

    Very large foregrounds are read at a fixed stride, so the result is deterministic.

    Args:
        image: (C, X, Y, Z) intensity.
        mask: (X, Y, Z) boolean.
        levels: K fractions in (0, 1), ascending.

    Returns:
        (C, K) float64, in the image's units.

    Raises:
        ValueError: if the mask is empty.
    """
    count = int(mask.sum())
    if count == 0:
        raise ValueError("the mask is empty: there is no foreground to take quantiles of.")
    stride = -(-count // _MAX_SAMPLES)
    return np.stack([np.quantile(channel[mask][::stride], levels) for channel in image]).astype(np.float64)


def _knots(quantiles: np.ndarray) -> np.ndarray:
    """Strictly increasing landmarks: equal ones (a clipped or coarsely quantised scan) are pushed slightly apart."""
    step = _MIN_KNOT_DISTANCE * (quantiles[-1] - quantiles[0])
    ramp = step * np.arange(len(quantiles))
    return np.maximum.accumulate(quantiles - ramp) + ramp


class ForegroundQuantileScale(Transform):
    """
    Map intensity to quantile coordinates of the foreground: landmark q_k, the quantile at level_k, becomes level_k.

    Piecewise linear between the landmarks and continued beyond the outermost ones with the outermost slopes, so a
    lesion brighter than any tissue stays brighter. This is the scan's half of the landmark standardisation of Nyul et
    al. ("New variants of a method of MRI scale standardization", IEEE TMI 19(2), 2000); it needs no training set. The
    learnt half, from coordinates to reference intensities, is part of the network.

    Args:
        levels: K >= 2 fractions in (0, 1), strictly ascending.

    Raises:
        ValueError: if ``levels`` are not strictly ascending fractions.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, levels: Sequence[float] = DEFAULT_LEVELS) -> None:
        self.levels = tuple(float(level) for level in levels)
        ascending = all(a < b for a, b in zip(self.levels, self.levels[1:]))
        if len(self.levels) < 2 or not ascending or self.levels[0] <= 0 or self.levels[-1] >= 1:
            raise ValueError(f"levels must be at least two ascending fractions between 0 and 1, got {levels}.")

    def quantiles(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> torch.Tensor:
        """Raw landmarks (C, K) of ``img`` (C, X, Y, Z) inside ``mask`` (1, X, Y, Z)."""
        image, inside = self._arrays(img, mask)
        return torch.from_numpy(foreground_quantiles(image, inside, self.levels)).float()

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> NdarrayOrTensor:  # type: ignore[override]
        """
        Args:
            img: (C, X, Y, Z) intensity.
            mask: (1, X, Y, Z) foreground.

        Returns:
            (C, X, Y, Z) float32 of the input's type: at least 0.001 in the foreground, exactly 0 outside.

        Raises:
            ValueError: if the mask is empty or a channel is constant inside it.
        """
        image, inside = self._arrays(img, mask)
        out = np.zeros(image.shape, dtype=np.float32)
        for channel, target, q in zip(image, out, foreground_quantiles(image, inside, self.levels)):
            if not q[-1] > q[0]:
                raise ValueError("the foreground has hardly any contrast: its quantiles are all the same.")
            target[inside] = self._coordinates(channel[inside], _knots(q))
        return convert_to_dst_type(out, img, dtype=torch.float32 if isinstance(img, torch.Tensor) else np.float32)[0]

    @staticmethod
    def _arrays(img: NdarrayOrTensor, mask: NdarrayOrTensor) -> tuple[np.ndarray, np.ndarray]:
        image = convert_data_type(img, np.ndarray)[0]
        return image, np.asarray(convert_data_type(mask, np.ndarray)[0][0] > 0)

    def _coordinates(self, values: np.ndarray, knots: np.ndarray) -> np.ndarray:
        levels = np.asarray(self.levels)
        out = np.interp(values, knots, levels)
        low, high = values < knots[0], values > knots[-1]
        slopes = np.diff(levels)[[0, -1]] / np.diff(knots)[[0, -1]]
        out[low] = levels[0] + slopes[0] * (values[low] - knots[0])
        out[high] = levels[-1] + slopes[1] * (values[high] - knots[-1])
        return np.maximum(out, _MIN_FOREGROUND)
