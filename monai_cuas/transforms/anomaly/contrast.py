# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The contrast of tissues changed at random, so that a network knows anatomy and not one sequence (array version)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from .scale import FINE_LEVELS, RANKS, RandScanChange
from .shapes import random_field

__all__ = ["DEFAULT_ORDERS", "RandTissueContrast"]

DEFAULT_ORDERS = {"flair": 1.0, "t2": 0.5, "t1": 0.5, "any": 1.0}
# dark to bright, of CSF (0), grey (1) and white matter (2)
_ORDERS = {"flair": (0, 2, 1), "t2": (2, 1, 0), "t1": (0, 1, 2)}
_LEAST_GAP = 0.12


class RandTissueContrast(RandScanChange):
    """
    Give the tissues of a healthy slice other intensities, in another order, as another sequence would.

    The values of CSF, grey and white matter on the standardised scale are found once, by 3-means on the training's
    intensities, whose distribution the landmarks tell. Each draw takes new values for the three and a random curve
    through them, and standardises the result as that of a whole scan: only the order of the tissues and their distances
    change, and slow shading is added. Anatomy, texture and whatever else a real scan has stay. The idea is that of
    Billot et al. (SynthSeg, Medical Image Analysis 86, 102789, 2023), here on real scans in place of label maps.

    Args:
        quantiles: raw intensity of the training normals at each of ``levels``, (n_scans, C, K). They must be T1: CSF
            dark, white matter bright.
        levels: of the quantiles, ascending, within (0, 1); more of them than the landmarks tell the tissues apart.
        orders: weight of each kind of contrast: "flair" (CSF dark, grey above white matter), "t2" (CSF bright, white
            matter dark), "t1", "any" order; None: :data:`DEFAULT_ORDERS`.
        shading: largest amount of slow shading.
        prob: probability of a change.

    Raises:
        ValueError: if an order is not known or the weights make no sense.
    """

    def __init__(
        self,
        quantiles: torch.Tensor,
        orders: Mapping[str, float] | None = None,
        shading: float = 0.06,
        prob: float = 0.85,
        levels: Sequence[float] = FINE_LEVELS,
    ) -> None:
        super().__init__(quantiles, levels, prob)
        orders = dict(DEFAULT_ORDERS if orders is None else orders)
        unknown = orders.keys() - {*_ORDERS, "any"}
        if unknown or any(w < 0 for w in orders.values()) or not sum(orders.values()) > 0:
            raise ValueError(f"orders must be weights of {', '.join([*_ORDERS, 'any'])}, not negative, got {orders}.")
        if shading < 0:
            raise ValueError(f"shading must not be negative, got {shading}.")
        self.orders, self.shading = orders, shading
        self.tissues = [self._tissues(samples) for samples in self.scale.samples]
        self._curves: list[tuple[np.ndarray, np.ndarray]] = []

    @staticmethod
    def _tissues(samples: np.ndarray) -> np.ndarray:
        """CSF, grey and white matter by 3-means, ascending."""
        start = np.quantile(samples, (0.05, 0.4, 0.85))
        return np.sort(kmeans2(samples[:, None], start[:, None], minit="matrix")[0][:, 0])

    def randomize(self, data: Any = None) -> None:
        """Draw whether to change the contrast, and to what."""
        super().randomize(None)
        if self._do_transform:
            self._curves = [self._curve(tissues) for tissues in self.tissues]

    def _curve(self, tissues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Knots of a random curve over [0, 1] through new values of the tissues."""
        names, weights = list(self.orders), np.array(list(self.orders.values()), dtype=float)
        name = names[int(self.R.choice(len(names), p=weights / weights.sum()))]
        order = self.R.permutation(3) if name == "any" else np.array(_ORDERS[name])
        gaps = _LEAST_GAP + (1 - 4 * _LEAST_GAP) * self.R.dirichlet(np.ones(4))
        values = np.empty(3)
        values[order] = np.cumsum(gaps)[:3]
        between = 0.5 * (values[:-1] + values[1:]) + 0.25 * np.diff(values) * self.R.uniform(-1, 1, 2)
        ends = values[[0, -1]] + self.R.uniform(-0.3, 0.3, 2)
        knots = np.array(
            [
                0.0,
                tissues[0],
                tissues[:2].mean(),
                tissues[1],
                tissues[1:].mean(),
                tissues[2],
                max(1.0, tissues[2] + 0.1),
            ]
        )
        return knots, np.array([ends[0], values[0], between[0], values[1], between[1], values[2], ends[1]])

    def changed(self, x: np.ndarray, channel: int) -> np.ndarray:
        knots, values = self._curves[channel]
        new, whole = np.interp(x, knots, values), np.interp(self.scale.samples[channel], knots, values)
        if self.shading:
            field = self.R.uniform(0, self.shading) * random_field(x.shape, 0.26 * x.shape[-1], self.R)
            new = new + field
            # the whole scan is shaded as well, so its quantiles lie further apart
            whole = np.add.outer(whole, np.quantile(field, RANKS[::20])).ravel()
        return self.scale.standardised(new, whole, channel)
