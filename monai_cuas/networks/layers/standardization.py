# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The learnt half of intensity standardisation: from foreground-quantile coordinates to reference intensities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["DEFAULT_LEVELS", "LandmarkStandardization"]

# few levels, and none above 0.7, so that a lesion that is brighter than all else and fills less than 30% of the brain
# is none of them. With levels up to 0.99 a large tumour stood for normal tissue and was dimmed for its size: on
# 41 tumour patients' FLAIR, folds 1 to 3 of benchmarks/real, smoothed intensity had AUPRC 0.718 in place of 0.787.
DEFAULT_LEVELS = (0.01, 0.1, 0.3, 0.7)
# the darkest and the brightest landmark in [0, 1]: room below for the background, above for bright tissue (normals
# reach about 0.6) and lesions brighter still
_LOW, _HIGH = 0.05, 0.4


class LandmarkStandardization(nn.Module):
    """
    Piecewise-linear map from foreground-quantile coordinates to the mean intensity profile of the training normals.

    Together with ``ForegroundQuantileScale``, which maps a scan's own quantiles to the levels, this is the landmark
    standardisation of Nyul et al. (IEEE TMI 19(2), 2000). The landmarks are a buffer: they travel with the weights.

    Args:
        n_channels: number of image channels C.
        levels: the K quantile levels, ascending, within (0, 1).
    """

    nan_is_unset = True
    __jit_unused_properties__ = ["median"]

    def __init__(self, n_channels: int, levels: Sequence[float] = DEFAULT_LEVELS) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)
        self.register_buffer("landmarks", torch.full((n_channels, len(levels)), float("nan")))
        self.levels: torch.Tensor
        self.landmarks: torch.Tensor

    @property
    def is_fitted(self) -> bool:
        """Whether the landmarks are known."""
        return bool((~torch.isnan(self.landmarks)).all())

    @property
    def median(self) -> float:
        """What the median of a normal brain becomes, the mean over the channels; NaN while that is not known."""
        above = int(torch.searchsorted(self.levels, 0.5).clamp(1, len(self.levels) - 1))
        low, high = self.levels[above - 1], self.levels[above]
        between = torch.lerp(self.landmarks[:, above - 1], self.landmarks[:, above], (0.5 - low) / (high - low))
        return float(between.mean())

    @torch.jit.unused
    def fit(self, quantiles: torch.Tensor) -> None:
        """
        Learn the reference from the training normals.

        Args:
            quantiles: raw intensity at each level, (n_scans, C, K).

        Raises:
            ValueError: if the shape does not fit, or a scan's quantiles are not finite or do not ascend.
        """
        q = torch.as_tensor(quantiles, dtype=torch.float64)
        if q.ndim != 3 or q.shape[1:] != self.landmarks.shape:
            raise ValueError(f"quantiles must have shape (n, {tuple(self.landmarks.shape)}), got {tuple(q.shape)}.")
        spread = q[..., -1:] - q[..., :1]
        if not bool(torch.isfinite(q).all() and (q.diff(dim=-1) >= 0).all() and (spread > 0).all()):
            raise ValueError("each scan's quantiles must be finite and ascend, the last must lie above its first.")
        profile = ((q - q[..., :1]) / spread).mean(dim=0)
        self.landmarks.copy_(_LOW + (_HIGH - _LOW) * profile)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: quantile coordinates, (N, C, spatial...), background 0.

        Returns:
            Intensity in [0, 1] of the same shape, background 0; clamped coordinates while the landmarks are NaN.
        """
        outputs = []
        for c in range(self.landmarks.shape[0]):
            outputs.append(self._channel(x[:, c : c + 1], self.landmarks[c]))
        standardized = torch.cat(outputs, dim=1)
        return torch.where(torch.isnan(self.landmarks).any(), x, standardized).clamp(0.0, 1.0)

    def _channel(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        # from (0, 0) to the first landmark: the background stays 0 and interpolated brain edges stay continuous
        y = x * (values[0] / self.levels[0])
        for k in range(self.levels.shape[0] - 1):
            low, high = self.levels[k], self.levels[k + 1]
            slope = (values[k + 1] - values[k]) / (high - low)
            y = torch.where(x >= low, values[k] + slope * (x - low), y)
        return y
