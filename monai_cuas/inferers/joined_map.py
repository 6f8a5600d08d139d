# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The network's map times how bright a voxel is, as far as the network is in its depth."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SliceInferer
from monai.utils import convert_to_tensor
from torch.nn import functional as F

from ..utils import RecordsArguments, note
from .brain import brain_of
from .depth_contrast import depth_contrast_of
from .inferer import StandardizedIntensityInferer, unwrap
from .smoothing import BrainSmoothing, spacing_of
from .texture import texture_of

__all__ = ["JoinedMapInferer"]

logger = logging.getLogger(__name__)

_DARKEST = 1e-3
_STRANGE = (
    "the scan's texture is not that of the network's normal scans ({:.4f}, normals {:.4f} to {:.4f}), as of another "
    "scanner or slice thickness: "
)
_LEFT_OUT = "the network is out of its depth, its map is left out, and brightness alone decides"
_KEPT = "the network is out of its depth, and too little or too much may be found"
_OTHER_CONTRAST = (
    "its deep brain is brighter than the rim by {:.2f} of all ranks, that of the network's normal scans by {:.2f} to "
    "{:.2f}: it may be of another contrast (T1, T2, FLAIR) than these, and what is found may be wrong"
)
_OUT_OF_DEPTH = (
    "the network is more alarmed by this scan as a whole than by a normal one ({:.2f}, normals up to {:.2f}): "
    "it is out of its depth, and little or nothing may be found"
)


def _say(doubt: str) -> None:
    """In the scan's notes and in the log."""
    note(doubt)
    logger.warning("%s.", doubt[0].upper() + doubt[1:])


class JoinedMapInferer(RecordsArguments, SliceInferer):
    """
    MONAI's ``SliceInferer`` whose map, a logit, is smoothed, made a probability and multiplied with the intensity.

    1. The logit is the mean over the slice and the mirrored slice (``flip``) and is smoothed in 3D within the brain, as
       slices are scored one by one and their noise is independent.
    2. Its sigmoid p is raised to ``map_weight`` and multiplied with the smoothed standardised intensity, raised to
       ``intensity_weight``: a voxel counts more that both find suspicious. What is no brighter than the median of the
       training's normal brains has that median for its intensity, so a dark lesion is not punished for being dark.
       Nothing here depends on the scan's other voxels, so a large lesion is no less a lesion for its size.
    3. Where the network is alarmed everywhere, it is out of its depth (another site, another contrast): the median m of
       log p over the brain then lies above L, what a normal scan is expected not to exceed; it travels with the weights
       (``NormalLevel``). Then L + exp(L - m) (log p - m) stands for log p: the map's level is that of a normal scan, so
       that scans stay comparable, and its differences fade the more, the more it is alarmed. A lesion moves the median
       little, as long as it is less than half of the brain. The scan's notes and the log say so.
    4. Where the scan's texture (:func:`texture_of`) is not that of the network's normal scans, as on another scanner,
       the map may be wrong without any alarm, and gives way to the smoothed intensity. This takes the values of the
       joined map that as many normal voxels reach (``NormalLevel.worth``), so that thresholds keep their meaning.
       Without an ``intensity_weight`` there is nothing to give way to, and the map stays. Notes and log say so.
    5. Where the contrast between depth and rim (:func:`depth_contrast_of`) is not that of the network's normal scans,
       as of T1 given to a network of FLAIR, notes and log say so; the map stays.

    Args:
        args, kwargs: of ``SliceInferer``.
        map_weight: exponent of the map's probability.
        intensity_weight: exponent of the intensity. 1 where bright is suspicious (FLAIR, T2, CT), 0 leaves it out (T1),
            -1: dark is.
        smoothing: of :class:`BrainSmoothing`, in mm, for both.
        flip: also score the slices mirrored left to right.

    Raises:
        ValueError: if ``smoothing`` is negative or of a wrong length, or ``map_weight`` is not positive.
    """

    def __init__(
        self,
        *args: Any,
        map_weight: float = 0.5,
        intensity_weight: float = 0.0,
        smoothing: float | Sequence[float] = 0.0,
        flip: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not map_weight > 0:
            raise ValueError(f"map_weight must be positive, got {map_weight}.")
        self.map_weight, self.intensity_weight, self.flip = float(map_weight), float(intensity_weight), flip
        self.smooth = BrainSmoothing(smoothing)
        # the baseline itself, so that what is joined is what stands beside it in the tables
        self.intensity = StandardizedIntensityInferer(smoothing=smoothing)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates; a MetaTensor tells the voxel size.
            network: gives the map of slices; its ``standardize`` gives the intensity.

        Returns:
            Map of shape (B, 1, X, Y, Z), in [0, 1], 0 outside the brain.
        """
        brain, own = brain_of(inputs), unwrap(network)
        left_out = torch.tensor([self._gives_way(inputs[k : k + 1], own) for k in range(len(inputs))])
        if left_out.all():
            score = own.normal_level.worth_of(self.suspicion(inputs, network))
        else:
            log_p = self.log_probability(inputs, network, *args, **kwargs)
            score = self.joined(self._trusted(log_p, brain, own), inputs, network)
            if left_out.any():
                score[left_out] = own.normal_level.worth_of(self.suspicion(inputs, network))[left_out]
        return torch.where(brain, score, 0.0)

    def joined(self, log_p: torch.Tensor, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """
        Product of map and intensity.

        Args:
            log_p: of :meth:`log_probability`.
            inputs: the volumes that it is of, (B, C, X, Y, Z).
            network: as in the call.

        Returns:
            (B, 1, X, Y, Z), in [0, 1], of any value outside the brain.
        """
        score = self.map_weight * log_p
        if self.intensity_weight:
            least = max(self._usual(unwrap(network)), _DARKEST)
            score = score + abs(self.intensity_weight) * self.suspicion(inputs, network).clamp(min=least).log()
        return score.exp()

    def suspicion(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """Smoothed intensity, (B, 1, X, Y, Z), in [0, 1]; 1 minus it where dark is suspicious."""
        image = self.intensity(inputs, network)
        return image if self.intensity_weight >= 0 else 1.0 - image

    def _gives_way(self, volume: torch.Tensor, network: Any) -> bool:
        """Whether the map of a scan, (1, C, X, Y, Z), is to be left out; what is doubtful is noted."""
        level = getattr(network, "normal_level", None)
        if level is None:
            return False
        self._doubt_contrast(volume, level)
        if torch.isnan(level.texture).any():
            return False
        texture = texture_of(volume, network)
        if not level.is_strange(texture):
            return False
        gives_way = bool(self.intensity_weight) and level.knows_worth
        doubt = _STRANGE.format(texture, *level.texture.tolist()) + (_LEFT_OUT if gives_way else _KEPT)
        _say(doubt)
        return gives_way

    @staticmethod
    def _doubt_contrast(volume: torch.Tensor, level: Any) -> None:
        """Note that a scan, (1, C, X, Y, Z), looks like one of another contrast; its map stays as it is."""
        if torch.isnan(level.contrast).any():
            return
        contrast = depth_contrast_of(volume)
        if level.is_other_contrast(contrast):
            doubt = _OTHER_CONTRAST.format(contrast, *level.contrast.tolist())
            _say(doubt)

    def log_probability(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Logarithm of the smoothed map's sigmoid, (B, 1, X, Y, Z), of any value outside the brain."""
        plain: Any = convert_to_tensor(inputs, track_meta=False)
        maps = self._logit(plain, network, *args, **kwargs)
        if self.flip:
            maps = 0.5 * (maps + self._logit(plain.flip(2), network, *args, **kwargs).flip(2))
        return F.logsigmoid(self.smooth(maps, brain_of(inputs), spacing_of(inputs)))

    def _logit(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        return convert_to_tensor(super().__call__(inputs, network, *args, **kwargs), track_meta=False).float()

    def _usual(self, network: Any) -> float:
        """What the median of the training's normal brains counts for; 0 if it is not known."""
        median = network.standardize.median
        return 0.0 if math.isnan(median) else median if self.intensity_weight > 0 else 1.0 - median

    @staticmethod
    def _trusted(log_p: torch.Tensor, brain: torch.Tensor, network: Any) -> torch.Tensor:
        """log p as far as it can be trusted, of the same shape."""
        level = getattr(network, "normal_level", None)
        if level is None or not level.is_known:
            return log_p
        highest, trusted = level.highest.to(log_p), log_p.clone()
        for k, (volume, inside) in enumerate(zip(log_p, brain)):
            median = volume[inside].median() if inside.any() else highest
            if median > highest:
                doubt = _OUT_OF_DEPTH.format(float(median), float(highest))
                _say(doubt)
                trusted[k] = highest + torch.exp(highest - median) * (volume - median)
        return trusted
