# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.nets import PaDiM, PatchCore
from monai_cuas.networks.nets.feature_distance import farthest_points
from monai_cuas.utils import CUASError

from ..toy import ToySlices, toy_slices

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}


def _fitted(kind, **kwargs):
    torch.manual_seed(0)
    net = kind(**SMALL, **kwargs)
    net.fit(torch.utils.data.DataLoader(ToySlices(40), batch_size=16))
    return net


def test_farthest_points_by_hand():
    points = torch.tensor([[0.0], [1.0], [9.0], [5.0], [8.0]])
    assert farthest_points(points, 3).tolist() == [0, 2, 3]


def test_padim_is_the_mahalanobis_distance_of_numpy():
    net = _fitted(PaDiM, dimensions=3)
    images, _, _ = toy_slices(40)
    with torch.no_grad():
        vectors = net._vectors(net.embedding(images)).numpy().astype(float)
        found = net.distance(net.embedding(images[:2])).flatten(2)
    covariances = [np.cov(vectors[:, p].T, bias=True) for p in range(144)]
    variance = np.mean([np.diag(c) for c in covariances])
    place = 70
    inverse = np.linalg.inv(covariances[place] + 0.01 * variance * np.eye(3))
    for k in range(2):
        offset = vectors[k, place] - vectors[:, place].mean(axis=0)
        assert found[k, 0, place].item() == pytest.approx(np.sqrt(offset @ inverse @ offset), rel=1e-3)


def test_patchcore_knows_the_patches_of_its_bank_and_of_brain_alone():
    net = _fitted(PatchCore, bank_size=6000)
    images, brain, _ = toy_slices(40)
    with torch.no_grad():
        distance = net.distance(net.embedding(images))
    inside = torch.nn.functional.adaptive_avg_pool2d(brain.float(), 12) > 0.5
    # the bank is larger than the number of patches, so all of them are in it
    assert distance[inside].max() < 1e-2
    assert distance[~inside].max() > 0.05
    assert net.bank.unique(dim=0).shape[0] <= int(inside.sum())


def test_few_patches_are_the_most_different_ones():
    net = _fitted(PatchCore, bank_size=5)
    assert torch.pdist(net.bank).min() > 0
    with pytest.raises(CUASError, match="no brain"):
        net.fit([{"image": torch.zeros(2, 1, 24, 24), "brain_mask": torch.zeros(2, 1, 24, 24)}])


@pytest.mark.parametrize("kind", [PaDiM, PatchCore])
def test_map_ranks_the_anomaly_and_comes_with_the_weights(kind, tmp_path):
    net = _fitted(kind).eval()
    images, brain, anomaly = toy_slices(4, seed=2, anomaly=True)
    with torch.inference_mode():
        scores = net(images)
        torch.testing.assert_close(scores, torch.cat([net(x[None]) for x in images]), rtol=1e-3, atol=1e-4)
    # the encoder is not trained here
    assert scores[anomaly].mean() > 1.2 * scores[brain & ~anomaly].mean()
    save_weights(net, tmp_path / "model.pt")
    with torch.no_grad():
        torch.testing.assert_close(load_weights(kind(**SMALL), tmp_path / "model.pt").eval()(images), scores.clone())


def test_padim_refuses_other_sizes():
    with pytest.raises(CUASError, match="24x24"):
        _fitted(PaDiM).eval()(torch.rand(1, 1, 48, 48))
