# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How alarmed a network is by normal scans, from normal scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor

from ..data.robust import TolerantDataset
from ..inferers import JoinedMapInferer, brain_of
from ..utils import CUASError
from ..utils.progress import track

__all__ = ["fit_normal_level"]


def fit_normal_level(
    network: torch.nn.Module,
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    inferer: JoinedMapInferer,
    device: torch.device | str = "cpu",
) -> None:
    """
    Set the network's ``normal_level``: the highest median, over scans, of the logarithm of the map's probability.

    The scans must be normal and must not be those of the calibration, or the joined map would depend on these and the
    guarantee of the calibration would not hold; the validation scans will do.

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
    levels = []
    for item in track(TolerantDataset(datalist, preprocessing), "level of normal scans", total=len(datalist)):
        volume = item["image"].unsqueeze(0).to(device)
        healthy = brain_of(volume)
        if "label" in item:
            sick = convert_to_tensor(item["label"], track_meta=False).amax(dim=(0, 1, 2)) > 0
            healthy[..., sick] = False
        if healthy.any():
            with torch.no_grad():
                levels.append(float(inferer.log_probability(volume, network)[healthy].median()))
    if not levels:
        raise CUASError(f"None of the {len(datalist)} validation scans can be used; the log says why.")
    network.normal_level.set_level(max(levels))  # type: ignore[union-attr, operator]
