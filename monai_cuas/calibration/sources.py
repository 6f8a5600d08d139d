# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Healthy p-values of each source (map, intensity) before they are joined, from normal scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor

from ..data.robust import TolerantDataset
from ..inferers import JoinedMapInferer
from ..networks.layers import SourceScale
from ..utils import CUASError
from ..utils.progress import track

__all__ = ["fit_source_scales"]

_MIN_EXCEEDING = 20


def fit_source_scales(
    network: torch.nn.Module,
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    inferer: JoinedMapInferer,
    device: torch.device | str = "cpu",
) -> None:
    """
    Set the network's ``map_scale`` and ``intensity_scale``: which rate of healthy voxels reaches a value.

    The scans must be normal and must not be those of the calibration, or the joined map would depend on these and the
    guarantee of the calibration would not hold; the validation scans will do. The rates need not be exact: the
    calibration of the joined map sets the threshold.

    Args:
        network: an ``AnomalyUNet``; changed in place.
        datalist: normal scans; of one with lesions in its "label", the slices without lesion are used.
        preprocessing: the one of the training slices, which takes the label along to the network's grid.
        inferer: the one of inference.
        device: where the network runs.

    Raises:
        CUASError: if none of the scans can be used.
    """
    network.to(device).eval()
    sources = {"map_scale": inferer.map_source, "intensity_scale": inferer.intensity_source}
    values: dict[str, list[np.ndarray]] = {name: [] for name in sources}
    scans = TolerantDataset(datalist, preprocessing)
    for item in track(scans, "healthy p-values", total=len(datalist)):
        volume = item["image"].unsqueeze(0).to(device)
        healthy = (volume > 0).any(dim=1, keepdim=True)
        if "label" in item:
            sick = convert_to_tensor(item["label"], track_meta=False).amax(dim=(0, 1, 2)) > 0
            healthy[..., sick] = False
        with torch.no_grad():
            for name, source in sources.items():
                values[name].append(source(volume, network)[healthy].cpu().numpy())
    if not sum(map(len, values["map_scale"])):
        raise CUASError(f"None of the {len(datalist)} validation scans can be used; the log says why.")
    for name, parts in values.items():
        scale: SourceScale = getattr(network, name)
        scale.set_(_thresholds(np.concatenate(parts), scale.rates.cpu().numpy()))


def _thresholds(values: np.ndarray, rates: np.ndarray) -> torch.Tensor:
    """Quantiles; NaN where too few voxels lie above."""
    known = len(values) * rates >= _MIN_EXCEEDING
    return torch.as_tensor(np.where(known, np.quantile(values, 1 - rates), np.nan))
