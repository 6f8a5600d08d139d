# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import Critic

from monai_cuas.engines import AdversarialTrainer, LatentPairs, PrepareBatchMasked, ReconstructionPairs
from monai_cuas.losses import CriticLoss, GeneratorLoss
from monai_cuas.networks.nets import ResidualVAE

from ..toy import ToySlices

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}


def _trainer(network, inferer, **kwargs) -> AdversarialTrainer:
    critic = Critic([1, 24, 24], [4, 8], [2, 2], num_res_units=0, act="LEAKYRELU", norm=None, dropout=None)
    return AdversarialTrainer(
        device="cpu",
        max_epochs=1,
        # the last batch is smaller
        train_data_loader=torch.utils.data.DataLoader(ToySlices(10), batch_size=8),
        g_network=network,
        g_optimizer=torch.optim.Adam(network.generator_parameters(), 1e-3),
        g_loss_function=GeneratorLoss(critic),
        g_inferer=inferer,
        d_network=critic,
        d_optimizer=torch.optim.Adam(critic.parameters(), 1e-3),
        d_loss_function=CriticLoss(critic),
        d_prepare_batch=PrepareBatchMasked(),
        decollate=False,
        **kwargs,
    )


@pytest.mark.parametrize("latent", ["dense", "spatial"])
@pytest.mark.parametrize("inferer", [LatentPairs(), ReconstructionPairs()])
def test_pairs_are_slices_of_the_same_shape_and_range(latent, inferer):
    torch.manual_seed(0)
    network = ResidualVAE(**SMALL, latent=latent)
    images = ToySlices(3).images
    pairs = inferer(images, network)
    assert torch.equal(pairs["real"], images)
    assert pairs["fake"].shape == images.shape
    assert 0 < float(pairs["fake"].detach().min()) < float(pairs["fake"].detach().max()) < 1
    _trainer(network, inferer).run()


def test_each_side_moves_in_its_own_steps_alone(monkeypatch):
    torch.manual_seed(0)
    network = ResidualVAE(**SMALL)
    trainer = _trainer(network, LatentPairs(), d_train_steps=3)
    calls: list[str] = []
    states: list[list[torch.Tensor]] = []

    def spy(name, optimizer):
        step = optimizer.step

        def watched(*args, **kwargs):
            result = step(*args, **kwargs)
            calls.append(name)
            states.append([p.detach().clone() for p in (network.output.weight, trainer.d_network.net[0].conv.weight)])
            return result

        monkeypatch.setattr(optimizer, "step", watched)

    spy("critic", trainer.d_optimizer)
    spy("generator", trainer.g_optimizer)
    trainer.run()
    assert calls == ["critic", "critic", "critic", "generator"] * 2
    for k, name in enumerate(calls[1:], start=1):
        generator, critic = (torch.equal(a, b) for a, b in zip(states[k - 1], states[k]))
        assert (generator, critic) == ((True, False) if name == "critic" else (False, True))
    assert set(trainer.state.output) == {"loss", "g_loss", "d_loss"}
