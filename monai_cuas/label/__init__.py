# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The MONAI Label app (docs/how-to/hospital.md); nothing here is imported by the rest of the package."""

from __future__ import annotations

import importlib.util

from .compat import prepare

# Before anything here imports monailabel.
if importlib.util.find_spec("monailabel"):
    prepare()
