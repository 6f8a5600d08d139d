# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .adversarial import AdversarialVAELoss, CriticLoss, EncodingLoss, GeneratorLoss, gradient_penalty
from .attention import AttentionEntropyLoss, AttentionSizeLoss, ExtendedLogBarrier, attention_entropy, eroded
from .constrained_vae import ConstrainedVAELoss
from .context import ContextELBOLoss
from .elbo import ELBOLoss
from .gradcon import GradConLoss
from .synthetic_anomaly import SyntheticAnomalyLoss

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
    "SyntheticAnomalyLoss",
    "attention_entropy",
    "eroded",
    "gradient_penalty",
]
