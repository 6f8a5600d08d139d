# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .adversarial import AdversarialVAELoss, CriticLoss, EncodingLoss, GeneratorLoss, gradient_penalty
from .attention import AttentionEntropyLoss, AttentionSizeLoss, ExtendedLogBarrier, attention_entropy
from .constrained_vae import ConstrainedVAELoss
from .context import ContextELBOLoss
from .elbo import ELBOLoss
from .gradcon import GradConLoss

__all__ = [
    "AdversarialVAELoss",
    "AttentionEntropyLoss",
    "AttentionSizeLoss",
    "ConstrainedVAELoss",
    "ContextELBOLoss",
    "CriticLoss",
    "ELBOLoss",
    "EncodingLoss",
    "ExtendedLogBarrier",
    "GeneratorLoss",
    "GradConLoss",
    "attention_entropy",
    "gradient_penalty",
]
