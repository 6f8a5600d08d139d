# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How a whole scan is standardised, known from the training's quantiles; for changes of a slice as if by its scan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type

from ...networks.layers import LandmarkStandardization

__all__ = ["FINE_LEVELS", "RandScanChange", "ScanScale"]

_DARKEST = 0.005

FINE_LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Levels at which the training's intensities are known."""

# of the range from the lowest to the highest landmark
_LEAST_STEP = 0.03
RANKS = np.linspace(0.0025, 0.9975, 200)
"""Brain voxels by which the whole scan's distribution is known, at equal steps of their rank."""


def continued(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear interpolation, continued with the outermost slopes."""
    out = np.interp(x, knots, values)
    for beyond, at, step in ((x < knots[0], 0, slice(0, 2)), (x > knots[-1], -1, slice(-2, None))):
        slope = np.diff(values[step])[0] / max(float(np.diff(knots[step])[0]), 1e-6)
        out[beyond] = values[at] + slope * (x[beyond] - knots[at])
    return out


class ScanScale:
    """
    Landmarks of the training's normals and the distribution of their standardised intensities.

    Args:
        quantiles: raw intensity of the training normals at each of ``levels``, (n_scans, C, K).
        levels: of the quantiles, ascending, within (0, 1).

    Attributes:
        samples: of each channel, standardised intensities at equal steps of their rank, (200,).

    Raises:
        ValueError: if the shapes do not fit.
    """

    def __init__(self, quantiles: torch.Tensor, levels: Sequence[float] = FINE_LEVELS) -> None:
        if quantiles.ndim != 3 or quantiles.shape[-1] != len(levels):
            raise ValueError(f"quantiles must have shape (n, C, {len(levels)}), got {tuple(quantiles.shape)}.")
        layer = LandmarkStandardization(quantiles.shape[1])
        fine, raw = np.asarray(levels, dtype=float), np.asarray(quantiles, dtype=float)
        knots = np.apply_along_axis(lambda q: np.interp(layer.levels.numpy(), fine, q), -1, raw)
        layer.fit(torch.as_tensor(knots))
        self.levels, self.landmarks = layer.levels.double().numpy(), layer.landmarks.double().numpy()
        self.samples: list[np.ndarray] = []
        for c, profile in enumerate(self.landmarks):
            # what the fine levels of each scan become on the standardised scale
            scans = [continued(raw[k, c], knots[k, c], profile) for k in range(len(raw))]
            self.samples.append(continued(RANKS, fine, np.mean(scans, axis=0)))

    def standardised(self, values: np.ndarray, whole: np.ndarray, channel: int) -> np.ndarray:
        """
        Standardise a part of a scan by the whole of it.

        Args:
            values: of any shape.
            whole: values of the whole scan's brain, (n,), in any order.
            channel: whose landmarks are taken.

        Returns:
            Standardised intensities, of the shape of ``values``, not limited.
        """
        coordinates = continued(values, self._landmarks_of(whole), self.levels)
        return continued(coordinates, self.levels, self.landmarks[channel])

    def _landmarks_of(self, values: np.ndarray) -> np.ndarray:
        """Quantiles at the levels, none so close to the next that differences within a tissue would be blown up."""
        quantiles = np.quantile(values, self.levels)
        step = _LEAST_STEP * (quantiles[-1] - quantiles[0])
        ramp = step * np.arange(len(quantiles))
        return np.maximum.accumulate(quantiles - ramp) + ramp


class RandScanChange(RandomizableTransform):
    """
    Base of what changes a slice as its scan might be: :meth:`randomize` draws how, and slices of a scan share it.

    Args:
        quantiles: raw intensity of the training normals at each of ``levels``, (n_scans, C, K).
        levels: of the quantiles, ascending, within (0, 1).
        prob: probability of a change.

    Raises:
        ValueError: if the shapes do not fit.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, quantiles: torch.Tensor, levels: Sequence[float], prob: float) -> None:
        super().__init__(prob)
        self.scale = ScanScale(quantiles, levels)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:  # type: ignore[override]
        """
        Args:
            img: (C, H, W) standardised intensity, in [0, 1], background 0.
            randomize: draw anew; False: the change of the last draw, as for another slice of the scan.

        Returns:
            (C, H, W) of the input's type; 0 where it was 0.
        """
        if randomize:
            self.randomize(None)
        if not self._do_transform:
            return img
        image = convert_data_type(img, np.ndarray, dtype=np.float32)[0]
        out = np.stack([np.where(x > 0, np.clip(self.changed(x, c), _DARKEST, 1.0), 0.0) for c, x in enumerate(image)])
        return convert_to_dst_type(out.astype(np.float32), img)[0]

    @abstractmethod
    def changed(self, x: np.ndarray, channel: int) -> np.ndarray:
        """
        Args:
            x: (H, W) standardised intensity.
            channel: of these.

        Returns:
            (H, W), not limited, of any value outside the brain.
        """
