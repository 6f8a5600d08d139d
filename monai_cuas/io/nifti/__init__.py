# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NIfTI, Analyze and FreeSurfer volumes: read strictly, written in the header form of the scan."""

from __future__ import annotations

from .geometry import GeometryError, HeaderForm, grid_of
from .reader import NiftiReader
from .writer import save_nifti

__all__ = ["GeometryError", "HeaderForm", "NiftiReader", "grid_of", "save_nifti"]
