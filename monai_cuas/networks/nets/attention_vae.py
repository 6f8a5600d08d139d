# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The variational autoencoder whose early attention maps are constrained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import nn
from torch.nn import functional as F

from ...utils import CUASError, RecordsArguments
from ..layers import (
    DEFAULT_RATES,
    LandmarkStandardization,
    ScoreCalibration,
    decoder_widths,
    gradient_weighted_map,
    make_decoder,
    mean_activation_map,
    scaled_by_rows,
)

__all__ = ["AttentionVAE"]

# of a stage; the deepest ResNet has 36
_MOST_BLOCKS = 100

_STEM_STRIDE = 2


class AttentionVAE(RecordsArguments, nn.Module):
    """
    ResNet-encoder VAE with an attention map of an early stage (Silva-Rodriguez et al. 2022, section 3).

    The stem is a 7x7 convolution of stride 2 without norm or activation, and the stages are those of MONAI's ResNet.
    Input are slices in foreground-quantile coordinates; the network itself maps them to reference intensities. The
    defaults are this package's; ``configs/paper`` holds the values of the authors' releases.

    In evaluation mode ``forward`` gives the raw attention map, (N, 1, H, W): the mean activation ("mean", computed from
    the stem and the first stages alone) or the gradient-weighted map ("gradcam", which enables autograd for itself). In
    training mode it gives the dictionary of :meth:`forward_train`.

    Args:
        in_channels: image channels.
        image_size: side of the square slices; a dense latent depends on it.
        channels: feature maps of each stage, one to four stages.
        layers: residual blocks of each stage.
        latent_size: latent dimensions (dense) or channels (spatial).
        latent: "dense" or "spatial".
        attention: "mean" or "gradcam".
        attention_stage: stage whose features form the map, 0 is the first.
        decoder: "residual_unit", "basic_block" or "two_convolutions" (:func:`make_decoder`).
        stem_init: "kaiming", as MONAI draws the weights of a ResNet (standard deviation 0.026 for 64 channels), or
            "default", as torch draws those of a convolution (0.082).
        max_pool: pool behind the stem, so that all features have half the side.
        align_corners: of the map's bilinear interpolation.
        sigmoid: False: a "gradcam" map in evaluation mode is not squeezed into (0, 1).
        training_sigmoid: a "mean" map in training mode goes through a sigmoid before it is resampled, as in the second
            release's GradCAMCons; ``AttentionSizeLoss(sigmoid=True)`` has it behind the resampling.
        training_resampling: False leaves the map in training mode on the features' grid, as the first release does;
            a loss that wants the brain mask then has none of its size.
        row_scaling: a map in evaluation mode is scaled slice by slice, from the smallest maximum of a row (0) to the
            maximum (1), as in the second release's GradCAMCons.
        calibration_rates: healthy rates of the calibration.

    Raises:
        ValueError: if an argument is not one of the above, or the slices are too small for the stages.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 96,
        channels: Sequence[int] = (16, 32, 64, 128),
        layers: Sequence[int] = (2, 2, 2, 2),
        latent_size: int = 32,
        latent: str = "dense",
        attention: str = "mean",
        attention_stage: int = 0,
        decoder: str = "residual_unit",
        stem_init: str = "kaiming",
        max_pool: bool = False,
        align_corners: bool = False,
        sigmoid: bool = True,
        training_sigmoid: bool = False,
        training_resampling: bool = True,
        row_scaling: bool = False,
        calibration_rates: Sequence[float] = DEFAULT_RATES,
    ) -> None:
        super().__init__()
        if stem_init not in ("kaiming", "default"):
            raise ValueError(f"stem_init must be kaiming or default, got {stem_init}.")
        if latent not in ("dense", "spatial") or attention not in ("mean", "gradcam"):
            raise ValueError(f"latent must be dense or spatial, attention mean or gradcam; got {latent}, {attention}.")
        if not 1 <= len(channels) <= 4 or len(layers) != len(channels) or max(layers) > _MOST_BLOCKS:
            raise ValueError(
                f"channels and layers need the same length of 1 to 4, and a stage has at most {_MOST_BLOCKS} blocks; "
                f"got {channels} and {layers}."
            )
        if not 0 <= attention_stage < len(channels):
            raise ValueError(f"attention_stage must be a stage from 0 to {len(channels) - 1}, got {attention_stage}.")
        self.latent, self.attention, self.attention_stage = latent, attention, attention_stage
        self.align_corners, self.sigmoid = align_corners, sigmoid
        self.training_sigmoid, self.training_resampling = training_sigmoid, training_resampling
        self.row_scaling = row_scaling
        self.standardize = LandmarkStandardization(in_channels)
        self.calibration = ScoreCalibration(calibration_rates)
        self.stem, self.stages = self._encoder(in_channels, channels, layers)
        if stem_init == "default":
            self.stem.reset_parameters()  # type: ignore[operator]
        self.pool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1) if max_pool else nn.Identity()
        self.sizes = self._sizes(image_size, len(channels) + max_pool)
        widths = self.decoder_widths = decoder_widths(decoder, channels, latent_size, len(self.sizes) - 1)
        self._latent_heads(channels[-1], latent_size, widths[0])
        self.decoder, self.doubling = make_decoder(decoder, widths), decoder == "basic_block"
        self.output = nn.Conv2d(widths[-1], in_channels, kernel_size=3, padding=1)

    @staticmethod
    def _encoder(in_channels: int, channels: Sequence[int], layers: Sequence[int]) -> tuple[nn.Module, nn.ModuleList]:
        missing = 4 - len(channels)
        resnet = ResNet(
            "basic",
            [*layers, *[1] * missing],
            [*channels, *[channels[-1]] * missing],
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=_STEM_STRIDE,
            no_max_pool=True,
            feed_forward=False,
            bias_downsample=False,
        )
        return resnet.conv1, nn.ModuleList(getattr(resnet, f"layer{k + 1}") for k in range(len(channels)))

    @staticmethod
    def _sizes(image_size: int, n_strides: int) -> list[int]:
        """Side of the slice, then of the features behind each stride of 2, which halves it, rounding up."""
        sizes = [image_size]
        for _ in range(n_strides):
            sizes.append(-(-sizes[-1] // 2))
        if sizes[-1] < 2:
            raise ValueError(f"image_size {image_size} is too small for {n_strides} strides of 2.")
        return sizes

    def _latent_heads(self, width: int, latent_size: int, decoder_width: int) -> None:
        if self.latent == "dense":
            pixels = self.sizes[-1] ** 2
            self.mu: nn.Module = nn.Linear(width * pixels, latent_size)
            self.log_var: nn.Module = nn.Linear(width * pixels, latent_size)
            self.from_latent: nn.Module = nn.Linear(latent_size, decoder_width * pixels)
        else:
            self.mu, self.log_var = nn.Conv2d(width, latent_size, 1), nn.Conv2d(width, latent_size, 1)
            self.from_latent = nn.Conv2d(latent_size, decoder_width, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Features of the attention stage from standardised slices."""
        x = self.pool(self.stem(x))
        for k, stage in enumerate(self.stages):
            if k <= self.attention_stage:
                x = stage(x)
        return x

    def forward(self, x: torch.Tensor):
        """
        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W), background 0.

        Returns:
            The map (N, 1, H, W) in evaluation mode, the dictionary of :meth:`forward_train` in training mode.
        """
        if not torch.jit.is_scripting():
            if self.training:
                return self.forward_train(x)
            if self.attention == "gradcam":
                return self._gradcam(x)
        elif self.attention == "gradcam":
            raise RuntimeError("TorchScript cannot form gradients: the gradcam map needs the Python network.")
        features = self.features(self.standardize(x))
        return self._map_of(mean_activation_map(features), x)

    def _map_of(self, attention: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The map in evaluation mode, on the slices' grid."""
        return self._resampled(scaled_by_rows(attention) if self.row_scaling else attention, x)

    def _resampled(self, attention: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(attention, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)

    @torch.jit.unused
    def _gradcam(self, x: torch.Tensor) -> torch.Tensor:
        # evaluators switch autograd off, by no_grad or inference_mode
        with torch.inference_mode(False), torch.enable_grad():
            features = self.features(self.standardize(x)).requires_grad_()
            mu, _ = self.encode(features)
            attention = gradient_weighted_map(features, mu, sigmoid=self.sigmoid).detach()
        return self._map_of(attention, x)

    @torch.jit.unused
    def encode(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Latent mean and log-variance from the features of the attention stage.

        Raises:
            CUASError: if a dense latent gets slices of another size than it was built for.
        """
        for stage in list(self.stages)[self.attention_stage + 1 :]:
            features = stage(features)
        if self.latent == "dense":
            if features.shape[-2:] != (self.sizes[-1], self.sizes[-1]):
                size = self.sizes[0]
                raise CUASError(f"The network was built for slices of {size}x{size}; set --image_size to the slices'.")
            features = features.flatten(1)
        # beyond these bounds exp() overflows or the gradient dies
        return self.mu(features), self.log_var(features).clamp(-20.0, 10.0)

    @torch.jit.unused
    def decode(self, z: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Logits of the reconstruction, (N, C, H, W) with (H, W) = ``shape``."""
        x = self.from_latent(z)
        if self.latent == "dense":
            x = x.unflatten(1, (-1, self.sizes[-1], self.sizes[-1]))
        targets = [*([s, s] for s in self.sizes[-2:0:-1]), list(shape)]
        for block, size in zip(self.decoder, targets):
            x = self._decoded(x, block, size)
        return self.output(x)

    @torch.jit.unused
    def _decoded(self, x: torch.Tensor, block: nn.Module, size: list[int]) -> torch.Tensor:
        if not self.doubling:
            return block(F.interpolate(x, size=size, mode="nearest"))
        x = block(x)
        return x if list(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="nearest")

    @torch.jit.unused
    def sample(self, mu: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        """A draw of the latent in training mode, its mean in evaluation mode."""
        return mu + torch.randn_like(mu) * (0.5 * log_var).exp() if self.training else mu

    @torch.jit.unused
    def forward_train(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        What the losses need; in evaluation mode the latent is its mean, without sampling.

        Args:
            x: slices in foreground-quantile coordinates, (N, C, H, W).

        Returns:
            "image" (standardised, in [0, 1]), "reconstruction" (logits), "mu", "log_var" and "attention" (N, 1, H, W).
        """
        with torch.enable_grad() if self.attention == "gradcam" else torch.set_grad_enabled(torch.is_grad_enabled()):
            image = self.standardize(x)
            features = self.features(image)
            if self.attention == "gradcam" and not features.requires_grad:
                features.requires_grad_()
            mu, log_var = self.encode(features)
            if self.attention == "gradcam":
                attention = gradient_weighted_map(features, mu, create_graph=self.training)
            else:
                attention = mean_activation_map(features)
                attention = attention.sigmoid() if self.training_sigmoid else attention
        return {
            "image": image,
            "reconstruction": self.decode(self.sample(mu, log_var), x.shape[-2:]),
            "mu": mu,
            "log_var": log_var,
            "attention": self._resampled(attention, x) if self.training_resampling else attention,
        }
