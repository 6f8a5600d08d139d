# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What normal scans are to a network, from normal scans: how alarmed it is, their texture, what brightness is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from scipy.stats import t as student

from ..data.robust import TolerantDataset
from ..inferers import JoinedMapInferer, brain_of, depth_contrast_of, texture_of
from ..networks.layers import DEFAULT_RATES
from ..utils import CUASError
from ..utils.progress import track

__all__ = ["contrast_limits", "fit_normal_level", "level_limit", "texture_limits"]

# of scans that are like the normal ones, so many are taken for strange; they lose the map, which is not much
_STRANGE = 0.05
_RATES = (*DEFAULT_RATES, 0.0005, 0.0002, 0.0001)
# a rate needs so many voxels above it, and a scan gives no more than these
_MIN_EXCEEDING, _MOST_VOXELS = 100, 300_000
# of all scans together, so that memory does not grow with their number
_MOST_OF_ALL = 12_000_000
_MOST_TEXTURES = 64


def texture_limits(textures: Sequence[float]) -> tuple[float, float]:
    """
    Prediction interval of a further scan's texture: Student's t on the logarithms, 95%.

    Args:
        textures: of normal scans, not negative.

    Returns:
        The lowest and the highest; NaN for fewer than two scans.
    """
    if len(textures) < 2:
        return math.nan, math.nan
    low, high = _expected(np.log(np.maximum(textures, 1e-9)))
    return math.exp(low), math.exp(high)


def contrast_limits(contrasts: Sequence[float]) -> tuple[float, float]:
    """
    Prediction interval of a further scan's contrast between depth and rim: Student's t, 95%.

    Args:
        contrasts: of normal scans.

    Returns:
        The lowest and the highest; NaN for fewer than two scans.
    """
    return (math.nan, math.nan) if len(contrasts) < 2 else _expected(contrasts)


def level_limit(levels: Sequence[float]) -> float:
    """
    Level that a further normal scan is expected not to exceed: Student's t, 97.5%; never below the highest one seen.

    Args:
        levels: of normal scans; a single one is its own limit.
    """
    return max(levels) if len(levels) < 2 else max(*levels, _expected(levels)[1])


def _expected(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Prediction interval of a further value, by Student's t, from two or more."""
    n, found = len(values), np.asarray(values, dtype=np.float64)
    reach = student.ppf(1 - _STRANGE / 2, n - 1) * found.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(found.mean() - reach), float(found.mean() + reach)


def _healthy(
    datalist: Sequence[dict[str, Any]], preprocessing: Callable, device: torch.device | str, desc: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each scan that can be used, (1, C, X, Y, Z), and its voxels that count, (1, 1, X, Y, Z)."""
    for item in track(TolerantDataset(datalist, preprocessing), desc, total=len(datalist)):
        volume = item["image"].unsqueeze(0).to(device)
        healthy = brain_of(volume)
        if "label" in item:
            sick = convert_to_tensor(item["label"], track_meta=False).amax(dim=(0, 1, 2)) > 0
            healthy[..., sick] = False
        if healthy.any():
            yield volume, healthy


def _worth(pairs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Intensities and joined values that equal shares of all voxels reach, (2, n), from pairs (2, m) of each scan."""
    pooled = torch.cat(list(pairs), dim=1).double().numpy()
    rates = [rate for rate in _RATES if pooled.shape[1] * min(rate, 1 - rate) >= _MIN_EXCEEDING]
    return torch.as_tensor(np.quantile(pooled, 1 - np.array(rates), axis=1).T.reshape(2, len(rates)))


def fit_normal_level(
    network: torch.nn.Module,
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    inferer: JoinedMapInferer,
    device: torch.device | str = "cpu",
    texture_list: Sequence[dict[str, Any]] = (),
) -> None:
    """
    Set the network's ``normal_level``: the median of the logarithm of the map's probability that a further normal scan
    is expected not to exceed, what intensities are worth, and the texture and the contrast that are expected of a
    normal scan.

    The scans must be normal and must not be those of the calibration, or the joined map would depend on these and the
    guarantee of the calibration would not hold; the validation scans will do. Texture and contrast are none of what the
    network has learnt, so the training scans tell them too. The contrast is of the whole brain, as it is at inference:
    of the slices without a lesion alone, which lie high and low, it varies twice as much.

    Args:
        network: an ``AnomalyUNet``; changed in place.
        datalist: normal scans; of one with lesions in its "label", the slices without lesion are used.
        preprocessing: the one of the training slices, which takes the label along to the network's grid.
        inferer: the one of inference.
        device: where the network runs.
        texture_list: further normal scans for texture and contrast, of which 64 at most are used.

    Raises:
        CUASError: if none of the scans can be used.
    """
    network.to(device).eval()
    level: Any = network.normal_level
    levels, textures, contrasts, pairs = [], [], [], []
    most = max(min(_MOST_VOXELS, _MOST_OF_ALL // max(len(datalist), 1)), 1)
    for volume, healthy in _healthy(datalist, preprocessing, device, "level of normal scans"):
        with torch.no_grad():
            log_p = inferer.log_probability(volume, network)
            both = torch.stack([inferer.suspicion(volume, network), inferer.joined(log_p, volume, network)])
        levels.append(float(log_p[healthy].median()))
        textures.append(texture_of(volume, network, healthy))
        contrasts.append(depth_contrast_of(volume))
        voxels = both[:, healthy].cpu()
        pairs.append(voxels[:, :: 1 + voxels.shape[1] // most])
    if not levels:
        raise CUASError(f"None of the {len(datalist)} validation scans can be used; the log says why.")
    chosen = texture_list[:: 1 + len(texture_list) // _MOST_TEXTURES]
    for volume, healthy in _healthy(chosen, preprocessing, device, "texture of normal scans") if chosen else ():
        textures.append(texture_of(volume, network, healthy))
        contrasts.append(depth_contrast_of(volume))
    level.set_level(level_limit(levels))
    level.set_worth(*_worth(pairs))
    level.set_texture(*texture_limits(textures))
    level.set_contrast(*contrast_limits([contrast for contrast in contrasts if not math.isnan(contrast)]))
