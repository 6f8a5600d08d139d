# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Training of a generator against a critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import GanTrainer
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from monai.utils.enums import GanKeys

from ..inferers import unwrap

__all__ = ["AdversarialTrainer", "LatentPairs", "ReconstructionPairs"]


class ReconstructionPairs(Inferer):
    """Real slices and their reconstructions, for an autoencoder with a critic."""

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """
        Args:
            inputs: slices in foreground-quantile coordinates, (N, C, H, W).
            network: a ``ResidualVAE`` in training mode.

        Returns:
            The dictionary of ``forward_train`` and "real" and "fake", (N, C, H, W) in [0, 1].
        """
        preds = network(inputs)
        return {**preds, "real": preds["image"], "fake": preds["reconstruction"].sigmoid()}


class LatentPairs(Inferer):
    """Real slices and slices generated from the standard normal distribution, for a generator with a critic."""

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """
        Args:
            inputs: slices in foreground-quantile coordinates, (N, C, H, W).
            network: a ``ResidualVAE``, of which the decoder is the generator.

        Returns:
            "real" and "fake", (N, C, H, W) in [0, 1].
        """
        network = unwrap(network)
        z = torch.randn(len(inputs), *network.latent_shape, device=inputs.device)
        return {"real": network.standardize(inputs), "fake": network.generate(z)}


class AdversarialTrainer(GanTrainer):
    """
    MONAI's ``GanTrainer`` for generators that see the batch: an autoencoder reconstructs it, an encoder reads it.

    Each iteration is ``d_train_steps`` steps of the critic, each with new fakes, and one step of the generator.
    ``GanTrainer`` itself makes the generator's input from random numbers alone, and the critic's steps share fakes.

    Args:
        g_inferer: gives a dictionary with "real" and "fake" from (slices, generator).
        g_loss_function: called as g_loss_function(that dictionary, brain mask).
        d_loss_function: called as d_loss_function(fake, real).
        d_prepare_batch: gives (slices, brain mask).
        kwargs: of ``GanTrainer``.
    """

    def _iteration(self, engine: Any, batchdata: dict | Sequence) -> dict[str, Any]:
        inputs, mask = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.g_network.train()
        engine.d_network.train()
        d_losses = []
        for _ in range(engine.d_train_steps):
            with torch.no_grad():
                pairs = engine.g_inferer(inputs, engine.g_network)
            engine.d_optimizer.zero_grad(set_to_none=True)
            d_loss = engine.d_loss_function(pairs["fake"], pairs["real"])
            d_loss.backward()
            engine.d_optimizer.step()
            d_losses.append(d_loss.item())
        engine.g_optimizer.zero_grad(set_to_none=True)
        g_loss = engine.g_loss_function(engine.g_inferer(inputs, engine.g_network), mask)
        g_loss.backward()
        engine.g_optimizer.step()
        # the handlers of every training look for "loss"
        loss = g_loss.item()
        return {Keys.LOSS: loss, GanKeys.GLOSS: loss, GanKeys.DLOSS: sum(d_losses) / len(d_losses)}
