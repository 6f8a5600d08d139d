# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How much brighter the depth of a brain is than its rim, which tells one contrast (T1) from another (FLAIR, T2)."""

from __future__ import annotations

import torch
from monai.transforms import DistanceTransformEDT
from monai.utils import convert_to_tensor

from .brain import brain_of
from .smoothing import spacing_of

__all__ = ["depth_contrast_of"]

# shares of the brain's greatest depth: cortex and what lies around it, and white matter
_RIM, _DEEP = (0.1, 0.2), (0.35, 0.5)
# the deepest voxels of a brain are few; a percentile hardly moves with the shape of its edge
_DEEPEST = 0.99


def depth_contrast_of(volume: torch.Tensor, inside: torch.Tensor | None = None) -> float:
    """
    Median value of the deep brain minus that of the brain's rim.

    Depth is the distance from the brain's edge in mm, as a share of the greatest. White matter is bright on T1 and
    cortex is not; on FLAIR they are alike, and on T2 the rim is bright. As values are ranks within the scan and medians
    are taken, neither the scanner's scale nor a small lesion moves it much.

    Args:
        volume: a scan, (1, C, X, Y, Z), foreground-quantile coordinates, background 0; a MetaTensor tells its spacing.
        inside: the voxels that count, (1, 1, X, Y, Z); None: the brain.

    Returns:
        In (-1, 1); NaN if no voxel of the rim, or none of the depth, counts.
    """
    brain = brain_of(volume)
    if not brain.any():
        return float("nan")
    measure = DistanceTransformEDT(sampling=[float(step) for step in spacing_of(volume)])
    depth = convert_to_tensor(measure(brain[0].float().cpu()), track_meta=False)[0].to(volume.device)
    share = depth / torch.quantile(_thinned(depth[brain[0, 0]]).float(), _DEEPEST)
    values = convert_to_tensor(volume, track_meta=False)[0].mean(dim=0)
    counts = (brain if inside is None else inside)[0, 0]
    rim, deep = (values[counts & (share >= low) & (share < high)] for low, high in (_RIM, _DEEP))
    return float(deep.median() - rim.median()) if len(rim) and len(deep) else float("nan")


def _thinned(values: torch.Tensor, most: int = 1_000_000) -> torch.Tensor:
    """At most so many of the values: torch's quantile takes no more than 16 million."""
    return values[:: 1 + len(values) // most]
