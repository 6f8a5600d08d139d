# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Intensity landmarks of a cohort, from which the network's standardisation is learnt."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.utils import ensure_tuple

from ..transforms import AnomalyPreprocessing
from ..utils import CUASError
from ..utils.progress import track
from .robust import note_failure

__all__ = ["collect_landmarks"]


def collect_landmarks(
    datalist: Sequence[Mapping[str, Any]],
    preprocessing: AnomalyPreprocessing,
    progress: bool = True,
    levels: Sequence[float] | None = None,
) -> torch.Tensor:
    """
    Foreground quantiles of each scan, for ``LandmarkStandardization.fit``.

    Args:
        datalist: the training normals.
        preprocessing: its levels, window and checks are used.
        progress: show a progress bar.
        levels: other ones than the preprocessing's.

    Returns:
        (n_scans, C, K) in the scans' own units. Scans that cannot be used are logged and left out.

    Raises:
        CUASError: if no scan can be used.
    """
    found: list[torch.Tensor] = []
    failed: list[tuple[str, str]] = []
    for entry in track(datalist, "intensity landmarks", show=progress):
        try:
            found.append(preprocessing.landmarks(entry, levels))
        except Exception as error:
            note_failure(failed, os.fspath(ensure_tuple(entry["image"])[0]), error)
    if not found:
        why = f"; the first: {failed[0][1]}" if failed else ": the list is empty."
        raise CUASError(f"none of {len(datalist)} scans can be used to learn the intensity landmarks{why}")
    return torch.stack(found)
