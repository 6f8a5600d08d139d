# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The learnt half of the intensity standardisation as a transform, for data that are altered on its scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from ...networks.layers import LandmarkStandardization

__all__ = ["LandmarkStandardize", "LandmarkStandardized"]


class LandmarkStandardize(Transform):
    """
    From foreground-quantile coordinates to reference intensities: the network's ``LandmarkStandardization``.

    Args:
        quantiles: raw intensity of the training normals at each level, (n_scans, C, K), as the network's layer is
            fitted on; None: the coordinates themselves, limited to [0, 1].
        in_channels: number of channels C where ``quantiles`` does not tell.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, quantiles: torch.Tensor | None = None, in_channels: int = 1) -> None:
        self.layer = LandmarkStandardization(in_channels if quantiles is None else quantiles.shape[1])
        if quantiles is not None:
            self.layer.fit(quantiles)

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            img: (C, ...), background 0.

        Returns:
            In [0, 1], of the same shape and type.
        """
        values = convert_to_tensor(img, dtype=torch.float32, track_meta=False)
        with torch.no_grad():
            return convert_to_dst_type(self.layer(values[None])[0], img, dtype=torch.float32)[0]


class LandmarkStandardized(MapTransform):
    """
    Dictionary version of :class:`LandmarkStandardize`.

    Args:
        keys: images in foreground-quantile coordinates, (C, ...).
        quantiles: see :class:`LandmarkStandardize`.
        in_channels: see :class:`LandmarkStandardize`.
        allow_missing_keys: skip keys that are absent.
    """

    backend = LandmarkStandardize.backend

    def __init__(
        self,
        keys: KeysCollection,
        quantiles: torch.Tensor | None = None,
        in_channels: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.standardize = LandmarkStandardize(quantiles, in_channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.standardize(d[key])
        return d
