# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .anomaly_unet import AnomalyUNet
from .attention_vae import AttentionVAE
from .bayesian import BayesianVAE
from .context import ContextEncodingVAE, ContextVAE
from .feature_distance import PaDiM, PatchCore
from .gradcon import GradConVAE
from .residual import ResidualAE, ResidualVAE
from .restoration import RestorationVAE
from .standardized_intensity import StandardizedIntensity

__all__ = [
    "AnomalyUNet",
    "AttentionVAE",
    "BayesianVAE",
    "ContextEncodingVAE",
    "ContextVAE",
    "GradConVAE",
    "PaDiM",
    "PatchCore",
    "ResidualAE",
    "ResidualVAE",
    "RestorationVAE",
    "StandardizedIntensity",
]
