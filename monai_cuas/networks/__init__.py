# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .utils import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
