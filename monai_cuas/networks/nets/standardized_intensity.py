# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What the baselines have in place of a network: the standardisation of intensities, and a calibration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...utils import RecordsArguments
from ..layers import DEFAULT_RATES, LandmarkStandardization, ScoreCalibration

__all__ = ["StandardizedIntensity"]


class StandardizedIntensity(RecordsArguments, nn.Module):
    """
    The standardised intensity of slices; nothing here is trained.

    Args:
        in_channels: image channels C.
        calibration_rates: healthy rates of the calibration.
    """

    def __init__(self, in_channels: int = 1, calibration_rates: Sequence[float] = DEFAULT_RATES) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(in_channels)
        self.calibration = ScoreCalibration(calibration_rates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W), background 0.

        Returns:
            Mean over the channels of the standardised intensity, (N, 1, H, W), in [0, 1].
        """
        return self.standardize(x).mean(dim=1, keepdim=True)
