# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NIfTI, Analyze and FreeSurfer volumes: read strictly, written in the header form of the scan."""

from __future__ import annotations

from .geometry import GeometryError, HeaderForm, form_of, grid_of
from .reader import NiftiReader, header_shape
from .writer import ANOMALY_DESCRIPTION, MASK_DESCRIPTION, save_nifti

__all__ = [
    "ANOMALY_DESCRIPTION",
    "MASK_DESCRIPTION",
    "GeometryError",
    "HeaderForm",
    "NiftiReader",
    "form_of",
    "grid_of",
    "header_shape",
    "save_nifti",
]
