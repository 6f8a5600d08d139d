# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .attention_vae import AttentionVAE

__all__ = ["AttentionVAE"]
