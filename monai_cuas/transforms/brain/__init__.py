# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Brain masks of scans that are not skull-stripped."""

from __future__ import annotations

from .cache import CachedMask
from .dictionary import (
    BRAIN_MASK_FILE,
    EXTRACTIONS,
    AutoBrainMaskd,
    BrainExtractiond,
    GivenBrainMaskd,
    brain_mask_step,
)
from .hd_bet import HDBETMask
from .head_ct import IntracranialMask

__all__ = [
    "BRAIN_MASK_FILE",
    "EXTRACTIONS",
    "AutoBrainMaskd",
    "BrainExtractiond",
    "CachedMask",
    "GivenBrainMaskd",
    "HDBETMask",
    "IntracranialMask",
    "brain_mask_step",
]
