# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""From a preprocessed volume to an anomaly map of the same shape; the baselines are inferers like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer, SliceInferer
from monai.utils import convert_to_tensor
from scipy.ndimage import median_filter
from skimage.exposure import equalize_hist

from ..networks.layers import GuaranteedCalibration, ScoreCalibration, ScoreScale
from ..utils import RecordsArguments
from .brain import brain_of
from .smoothing import BrainSmoothing, spacing_of

__all__ = [
    "CalibratedInferer",
    "GuaranteedInferer",
    "HistogramEqualizationInferer",
    "StandardizedIntensityInferer",
    "TrainingOutputInferer",
    "VolumeScaledInferer",
    "unwrap",
]


def unwrap(network: Any) -> Any:
    """Return the network inside a (Distributed)DataParallel wrapper, or the network itself."""
    return getattr(network, "module", network)


def _plain(inputs: Any) -> torch.Tensor:
    return convert_to_tensor(inputs, track_meta=False)  # type: ignore[return-value]


class TrainingOutputInferer(Inferer):
    """Give what the losses need (reconstruction, latent, attention), for the loss on held-out scans; no sampling."""

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: slices, (N, C, H, W), foreground-quantile coordinates.
            network: an ``AttentionVAE``, wrapped for distributed training or not.

        Returns:
            The dictionary of ``AttentionVAE.forward_train``.
        """
        return unwrap(network).forward_train(inputs, *args, **kwargs)


class CalibratedInferer(Inferer):
    """
    Turn the map of another inferer into the anomaly score: -log10 of the healthy exceedance rate.

    A score of 2 says that one healthy brain voxel in a hundred (10^-2) has as high a value. So a threshold for a stated
    rate is the literal number -log10(rate), and maps of different methods can be compared on one scale.

    Args:
        inferer: gives the raw map, (B, 1, X, Y, Z), from (inputs, network).
        calibration: the method's own calibration; None takes the one that travels with the network's weights.
        raw: True gives the raw map, as calibration itself needs it.
    """

    def __init__(self, inferer: Inferer, calibration: ScoreCalibration | None = None, raw: bool = False) -> None:
        super().__init__()
        self.inferer, self.calibration, self.raw = inferer, calibration, raw

    def calibration_of(self, network: Any) -> Any:
        """Return the calibration in use; a TorchScript network's works as well."""
        return unwrap(network).calibration if self.calibration is None else self.calibration

    def scale_of(self, network: Any) -> ScoreScale:
        """Return the scale of the score, which knows the thresholds."""
        return self.calibration_of(network)

    def final_scale(self, network: Any) -> ScoreScale | None:
        """Return what the map still needs on the scan's own grid to become the score: nothing."""
        return None

    def finish(self, anomaly: torch.Tensor, network: Any) -> torch.Tensor:
        """
        Args:
            anomaly: this inferer's map behind the postprocessing, any shape.
            network: as in the call.

        Returns:
            The score, of the same shape.
        """
        return anomaly

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates.
            network: gives the attention map of slices.

        Returns:
            Map of shape (B, 1, X, Y, Z), >= 0 unless ``raw``.
        """
        attention = self.inferer(inputs, network, *args, **kwargs)
        return attention if self.raw else self.calibration_of(network)(attention)


class GuaranteedInferer(CalibratedInferer):
    """
    The raw map of another inferer, whose score is formed last, on the scan's own grid, by the guaranteed scale.

    Up to there nothing depends on the calibration scans, as the guarantee asks for (docs/explanation/calibration.md).

    Args:
        inferer: gives the raw map, (B, 1, X, Y, Z), from (inputs, network).
        calibration: the method's own calibration; None takes the one that travels with the network's weights.
    """

    def __init__(self, inferer: Inferer, calibration: ScoreCalibration | None = None) -> None:
        super().__init__(inferer, calibration, raw=True)

    def scale_of(self, network: Any) -> GuaranteedCalibration:
        """Return the guaranteed scale."""
        return super().scale_of(network).guaranteed  # type: ignore[return-value]

    def final_scale(self, network: Any) -> GuaranteedCalibration:
        """Return the guaranteed scale, which the postprocessing is to apply."""
        return self.scale_of(network)

    def finish(self, anomaly: torch.Tensor, network: Any) -> torch.Tensor:
        """Return the score of a raw map behind the postprocessing."""
        scale = self.scale_of(network)
        return scale(anomaly.to(scale.thresholds.device)).to(anomaly.device)


class VolumeScaledInferer(RecordsArguments, SliceInferer):
    """
    MONAI's ``SliceInferer`` whose map is scaled to [0, 1] by its range in the brain of the whole volume.

    Maps of scans get a common scale, while a slice keeps its place among the slices of its scan; scaling each slice by
    itself, as the released code of Silva-Rodriguez et al. does, gives a slice without a lesion a maximum of 1 too.

    Args:
        kwargs: of ``SliceInferer``.
    """

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: gives the map of slices.

        Returns:
            Map of shape (B, 1, X, Y, Z), in [0, 1] in the brain; 0 outside and where a volume's map is constant.
        """
        maps = _plain(super().__call__(inputs, network, *args, **kwargs))
        brain = brain_of(inputs)
        return torch.stack([self._scaled(volume, mask) for volume, mask in zip(maps, brain)])

    @staticmethod
    def _scaled(volume: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if not mask.any():
            return torch.zeros_like(volume)
        low, high = volume[mask].min(), volume[mask].max()
        return torch.where(mask, (volume - low) / (high - low).clamp(min=torch.finfo(volume.dtype).tiny), 0.0)


class StandardizedIntensityInferer(RecordsArguments, Inferer):
    """
    Baseline: the standardised intensity itself is the anomaly map (bright is suspicious).

    Args:
        two_sided: the distance from the scan's own median in place of the intensity, so that dark counts too.
        smoothing: of :class:`BrainSmoothing`, in mm, before that; 0: none.
        median: side in pixels of a median filter within each slice, before that; 0: none.

    Raises:
        ValueError: if ``median`` is even or negative, or ``smoothing`` makes no sense.
    """

    def __init__(self, two_sided: bool = False, smoothing: float | Sequence[float] = 0.0, median: int = 0) -> None:
        super().__init__()
        if not 0 <= median < 100 or (median and median % 2 == 0):
            raise ValueError(f"median must be odd and below 100, or 0, got {median}.")
        self.two_sided, self.smooth, self.median = two_sided, BrainSmoothing(smoothing), median

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: its standardisation is used; nothing else of it.

        Returns:
            Mean over the channels of the standardised intensity, (B, 1, X, Y, Z), in [0, 1]; background 0.
        """
        image = unwrap(network).standardize(_plain(inputs)).mean(dim=1, keepdim=True)
        brain = brain_of(inputs)
        if self.median:
            filtered = median_filter(image.cpu().numpy(), (1, 1, self.median, self.median, 1))
            image = torch.where(brain, torch.as_tensor(filtered).to(image), 0.0)
        image = self.smooth(image, brain, spacing_of(inputs))
        if not self.two_sided:
            return image
        return torch.stack([self._distance(volume, mask) for volume, mask in zip(image, brain)])

    @staticmethod
    def _distance(volume: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if not mask.any():
            return torch.zeros_like(volume)
        return torch.where(mask, (volume - volume[mask].median()).abs(), 0.0)


class HistogramEqualizationInferer(StandardizedIntensityInferer):
    """
    Baseline: histogram equalisation of the standardised intensity within the brain, scikit-image's ``equalize_hist``.

    Args:
        bins: number of bins of the histogram.
    """

    def __init__(self, bins: int = 256) -> None:
        super().__init__()
        self.bins = bins

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: its standardisation is used; nothing else of it.

        Returns:
            Equalised intensity, (B, 1, X, Y, Z), in [0, 1]; background 0.
        """
        image = super().__call__(inputs, network)
        return torch.stack([self._equalize(volume, brain) for volume, brain in zip(image, brain_of(inputs))])

    def _equalize(self, volume: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        array, mask = volume.cpu().numpy(), brain.cpu().numpy()
        if not mask.any():
            return torch.zeros_like(volume)
        equalized = np.where(mask, equalize_hist(array, nbins=self.bins, mask=mask), 0.0)
        return torch.as_tensor(equalized, dtype=volume.dtype, device=volume.device)
