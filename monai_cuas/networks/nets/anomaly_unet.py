# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A U-Net that learns on healthy slices to find and to undo synthetic anomalies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet
from torch import nn
from torch.nn import functional as F

from ...utils import RecordsArguments
from ..layers import DEFAULT_RATES, LandmarkStandardization, NormalLevel, ScoreCalibration, mean_activation_map

__all__ = ["AnomalyUNet"]

MAP_KINDS = ("segmentation", "restoration", "both")


class AnomalyUNet(RecordsArguments, nn.Module):
    """
    MONAI's BasicUNet with two answers for each pixel: was it altered, and what was it before.

    In evaluation mode ``forward`` takes slices in foreground-quantile coordinates, which the network itself maps to
    reference intensities, and gives the raw anomaly map (N, 1, H, W). In training mode it takes altered slices on the
    scale of these intensities (``RandSyntheticAnomalyd`` in the training's transforms) and gives the dictionary of
    :meth:`forward_train`. The encoder's attention map is there for the same constraints
    (``AttentionEntropyLoss``). ``normal_level`` tells ``JoinedMapInferer`` how alarmed the network is by normal scans;
    ``fit_normal_level`` sets it.

    Args:
        in_channels: image channels C.
        image_size: side of the square slices.
        features: BasicUNet's six numbers of features; the first and the last are at full resolution.
        windows: also give the network each pixel's difference from the mean of the brain around it, in windows of these
            sides in pixels; without, small networks need far longer to see contrast.
        mirror: also give the network the slice mirrored left to right.
        pixel_unshuffle: side of the pixel blocks that become channels before the first convolution and pixels again
            behind the last one (``torch.nn.PixelUnshuffle``); 2 is several times as fast as 1 with as many features.
            The image size must be divisible by it and at least 16 times as large; below 32 times, PyTorch's batch norm
            cannot train on a last batch of a single slice.
        attention_stage: encoder stage (0 to 4) whose mean activation is the attention map.
        map_kind: what the map is made of: "segmentation" (logit that a pixel was altered), "restoration" (absolute
            difference from the restored slice) or "both" (their sum, the difference times 10).
        cpu_bfloat16: on a CPU, train in bfloat16 as PyTorch's autocast does; faster on CPUs that compute in it.
        calibration_rates: healthy rates of the calibration.

    Raises:
        ValueError: if an argument is not one of the above.
    """

    # what the machine can
    not_recorded = frozenset({"cpu_bfloat16"})

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 96,
        features: Sequence[int] = (16, 16, 32, 64, 128, 16),
        windows: Sequence[int] = (5, 15),
        mirror: bool = False,
        pixel_unshuffle: int = 1,
        attention_stage: int = 0,
        map_kind: str = "segmentation",
        cpu_bfloat16: bool = False,
        calibration_rates: Sequence[float] = DEFAULT_RATES,
    ) -> None:
        super().__init__()
        if map_kind not in MAP_KINDS:
            raise ValueError(f"map_kind must be one of {', '.join(MAP_KINDS)}, got {map_kind}.")
        if not 0 <= attention_stage <= 4:
            raise ValueError(f"attention_stage must be 0 to 4, got {attention_stage}.")
        if any(w < 3 or w % 2 == 0 for w in windows):
            raise ValueError(f"windows must be odd and at least 3, got {tuple(windows)}.")
        if pixel_unshuffle < 1 or image_size % pixel_unshuffle:
            raise ValueError(
                f"pixel_unshuffle must be at least 1 and divide image_size {image_size}, got {pixel_unshuffle}."
            )
        if image_size < 16 * pixel_unshuffle:
            raise ValueError(
                f"image_size must be at least {16 * pixel_unshuffle} with pixel_unshuffle {pixel_unshuffle}."
            )
        self.pixel_unshuffle = pixel_unshuffle
        self.in_channels, self.mirror, self.windows = in_channels, mirror, list(windows)
        self.attention_stage, self.map_kind = attention_stage, map_kind
        self.cpu_bfloat16 = cpu_bfloat16
        self.standardize = LandmarkStandardization(in_channels)
        self.calibration = ScoreCalibration(calibration_rates)
        self.normal_level = NormalLevel()
        inputs = in_channels * (1 + len(windows) + (1 if mirror else 0)) + 1
        block = pixel_unshuffle**2
        self.unet = BasicUNet(
            2,
            inputs * block,
            (1 + in_channels) * block,
            features=features,
            act="relu",
            norm="batch",
            upsample="nontrainable",
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on CPUs

    def _inputs(self, image: torch.Tensor) -> torch.Tensor:
        # centred by about the mean and the spread inside the brain, so that the first layers see the contrast of tissue
        # and not the brain's outline
        inside = (image > 0).to(image.dtype)
        centred = (image - 0.4) / 0.12 * inside
        parts = [centred, inside[:, :1]]
        for window in self.windows:
            pad = window // 2
            total = F.avg_pool2d(centred, window, stride=1, padding=pad)
            part = F.avg_pool2d(inside, window, stride=1, padding=pad)
            parts.append((centred - total / part.clamp(min=1e-3)) * inside)
        if self.mirror:
            parts.append(centred.flip(2))
        return torch.cat(parts, dim=1)

    def _answers(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logit (N, 1, H, W), restored slice (N, C, H, W), features of the attention stage."""
        e0 = self.unet.conv_0(F.pixel_unshuffle(self._inputs(image), self.pixel_unshuffle))
        e1 = self.unet.down_1(e0)
        e2 = self.unet.down_2(e1)
        e3 = self.unet.down_3(e2)
        e4 = self.unet.down_4(e3)
        x = self.unet.upcat_4(e4, e3)
        x = self.unet.upcat_3(x, e2)
        x = self.unet.upcat_2(x, e1)
        out = F.pixel_shuffle(self.unet.final_conv(self.unet.upcat_1(x, e0)), self.pixel_unshuffle)
        return out[:, :1], image + out[:, 1:], [e0, e1, e2, e3, e4][self.attention_stage]

    def forward(self, x: torch.Tensor):
        """
        Args:
            x: (N, C, H, W), background 0; in evaluation mode in foreground-quantile coordinates, in training mode
                altered and standardised.

        Returns:
            The map (N, 1, H, W) in evaluation mode, the dictionary of :meth:`forward_train` in training mode.
        """
        if not torch.jit.is_scripting() and self.training:
            return self.forward_train(x)
        image = self.standardize(x)
        logit, restoration, _ = self._answers(image)
        difference = 10.0 * (image - restoration).abs().amax(dim=1, keepdim=True)
        if self.map_kind == "restoration":
            return difference
        if self.map_kind == "both":
            return logit + difference
        return logit

    @torch.jit.unused
    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Answer for slices that were altered, on the scale of the standardised intensity, where they were altered.

        Args:
            x: altered slices, standardised, (N, C, H, W), background 0: what the training's transforms give.

        Returns:
            "logit" (N, 1, H, W), "restoration" (N, C, H, W) and "attention" (N, 1, H, W).
        """
        # on a GPU this is MONAI's trainer's to say
        with torch.autocast("cpu", torch.bfloat16, enabled=self.cpu_bfloat16 and x.device.type == "cpu"):
            logit, restoration, features = (part.float() for part in self._answers(x))
        attention = F.interpolate(
            mean_activation_map(features), size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        return {"logit": logit, "restoration": restoration, "attention": attention}
