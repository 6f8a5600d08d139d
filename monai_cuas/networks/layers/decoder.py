# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The three forms of a decoder that :class:`AttentionVAE` offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.nets.resnet import ResNetBlock
from torch import nn
from torch.nn import functional as F

__all__ = ["decoder_widths", "make_decoder"]


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class _UpsamplingBlock(ResNetBlock):
    """
    ResNet's basic block whose second convolution works on twice the side: batch norm, ReLU.

    Norm and activation act on single values and their statistics do not see a value's being repeated, so that they come
    before the resampling, where there is a quarter to do.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        skip = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        super().__init__(in_channels, out_channels, spatial_dims=2, downsample=skip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = _doubled(self.act(self.bn1(self.conv1(x))))
        return self.act(self.bn2(self.conv2(out)) + _doubled(self.downsample(x)))  # type: ignore[misc]


class _TwoConvolutions(nn.Module):
    """Convolution, ReLU, batch norm twice beside a third convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            Convolution(2, in_channels, out_channels, kernel_size=3, act="relu", norm="batch", adn_ordering="AN"),
            Convolution(2, out_channels, out_channels, kernel_size=3, act="relu", norm="batch", adn_ordering="AN"),
        )
        self.skip = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.straight(x) + self.skip(x)


def decoder_widths(kind: str, channels: Sequence[int], latent_size: int, blocks: int) -> list[int]:
    """
    Channels before the first block and after each.

    Args:
        kind: as in :func:`make_decoder`.
        channels: of the encoder's stages.
        latent_size: latent channels.
        blocks: number of blocks.

    Returns:
        The encoder's widths mirrored for "residual_unit"; for the others its last width halved again and again, to
        which "two_convolutions" comes from the latent's own.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}; got {kind}.")
    if kind == "residual_unit":
        return [*channels[::-1], *[channels[0]] * (blocks + 1 - len(channels))]
    halved = [max(1, channels[-1] // 2 ** (k + 1)) for k in range(blocks + 1)]
    return halved if kind == "basic_block" else [latent_size, *halved[:-1]]


def make_decoder(kind: str, widths: Sequence[int]) -> nn.ModuleList:
    """
    Blocks of a decoder, each called with features.

    Args:
        kind: "residual_unit" (MONAI's, instance norm and PReLU) and "two_convolutions" (Silva-Rodriguez et al., first
            release) want features that are resampled already; "basic_block" (two of ResNet's, second release)
            doubles the side itself.
        widths: of :func:`decoder_widths`.
    """
    return nn.ModuleList(DECODERS[kind](a, b) for a, b in zip(widths, widths[1:]))


def _basic_blocks(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(_UpsamplingBlock(in_channels, out_channels), ResNetBlock(out_channels, out_channels, 2))


def _residual_unit(in_channels: int, out_channels: int) -> nn.Module:
    return ResidualUnit(2, in_channels, out_channels, kernel_size=3, subunits=2)


DECODERS: dict[str, Callable[[int, int], nn.Module]] = {
    "residual_unit": _residual_unit,
    "basic_block": _basic_blocks,
    "two_convolutions": _TwoConvolutions,
}
