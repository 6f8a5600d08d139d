# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Embedded phantom cohort: scans with the anatomy of ICBM-152, healthy or with lesions whose masks are exact."""

from __future__ import annotations

from .anatomy import CONTRASTS, Phantom, simulate_brain
from .cohort import make_phantom_cohort, make_phantom_subject, split_counts
from .lesions import LESION_KINDS, simulate_lesion

__all__ = [
    "CONTRASTS",
    "LESION_KINDS",
    "Phantom",
    "make_phantom_cohort",
    "make_phantom_subject",
    "simulate_brain",
    "simulate_lesion",
    "split_counts",
]
