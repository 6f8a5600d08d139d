# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .array import SimulateLesion
from .dictionary import SimulateLesiond

__all__ = ["SimulateLesion", "SimulateLesiond"]
