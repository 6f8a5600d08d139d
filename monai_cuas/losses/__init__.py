# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .attention import AttentionEntropyLoss, AttentionSizeLoss, ExtendedLogBarrier, attention_entropy
from .constrained_vae import ConstrainedVAELoss
from .context import ContextELBOLoss
from .elbo import ELBOLoss

__all__ = [
    "AttentionEntropyLoss",
    "AttentionSizeLoss",
    "ConstrainedVAELoss",
    "ContextELBOLoss",
    "ELBOLoss",
    "ExtendedLogBarrier",
    "attention_entropy",
]
