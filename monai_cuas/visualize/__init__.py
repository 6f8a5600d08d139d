# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .comparison import draw_precision_recall
from .overlay import draw_overlay, draw_panel

__all__ = ["draw_overlay", "draw_panel", "draw_precision_recall"]
