# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandGaussianNoised

from monai_cuas.data.seeded import SeededDataset, default_workers
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.transforms import (
    LandmarkStandardize,
    LandmarkStandardized,
    RandHealthyVariationd,
    RandSyntheticAnomalyd,
)

ITEMS = [{"image": torch.full((1, 8, 8), float(k)), "brain_mask": torch.ones(1, 8, 8)} for k in range(6)]


def _noisy(**kwargs) -> SeededDataset:
    return SeededDataset(ITEMS, Compose([RandGaussianNoised("image", prob=1.0)]), seed=3, **kwargs)


def _all(data: SeededDataset, workers: int) -> torch.Tensor:
    return torch.cat([batch["image"] for batch in DataLoader(data, batch_size=2, num_workers=workers)])


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_draws_the_same(workers):
    data = _noisy()
    for epoch in (1, 2):
        data.set_epoch(epoch)
        assert torch.equal(_all(data, workers), _all(data, 0))


def test_workers_that_outlive_an_epoch_hear_of_the_next():
    data = _noisy()
    loader = DataLoader(data, batch_size=2, num_workers=2, persistent_workers=True)
    for epoch in (1, 2):
        data.set_epoch(epoch)
        assert torch.equal(torch.cat([batch["image"] for batch in loader]), _all(data, 0))


def test_draws_depend_on_seed_epoch_and_item_and_on_nothing_else():
    data = _noisy()
    first = data[2]["image"]
    torch.manual_seed(9)
    assert torch.equal(data[4]["image"] - 4 + 2, data[4]["image"] - 2)
    assert torch.equal(data[2]["image"], first)
    assert not torch.equal(data[4]["image"] - 4, first - 2)
    data.set_epoch(1)
    assert not torch.equal(data[2]["image"], first)
    assert torch.equal(ITEMS[2]["image"], torch.full((1, 8, 8), 2.0))  # items themselves stay


def test_the_donor_is_another_item():
    data = _noisy(donor_key="donor")
    donors = {(k, e): float(item["donor"].mean()) for e in range(8) for k, item in enumerate(_epoch(data, e))}
    assert all(donor != k for (k, _), donor in donors.items())
    assert len({donor for (k, _), donor in donors.items() if k == 0}) > 2
    alone = SeededDataset(ITEMS[:1], Compose([]), donor_key="donor")
    assert float(alone[0]["donor"].mean()) == 0.0


def _epoch(data: SeededDataset, epoch: int) -> list[dict]:
    data.set_epoch(epoch)
    return [data[k] for k in range(len(data))]


def test_without_a_transform_the_items_pass():
    assert SeededDataset(ITEMS, None, donor_key="donor")[1].keys() == ITEMS[1].keys()


def test_workers_are_what_the_machine_has():
    assert 1 <= default_workers() <= 8
    assert default_workers(1) == 1


def test_the_chain_of_the_training_alters_standardised_slices_inside_the_brain():
    quantiles = (200 * torch.tensor(DEFAULT_LEVELS) + 10).view(1, 1, -1)
    mask = torch.zeros(1, 48, 48)
    mask[:, 8:40, 8:40] = 1
    image = mask * (0.3 + 0.3 * torch.rand(1, 48, 48, generator=torch.Generator().manual_seed(0)))
    chain = Compose(
        [
            LandmarkStandardized(["image", "donor"], quantiles),
            RandHealthyVariationd("image"),
            RandSyntheticAnomalyd("image", soft_label=0.1),
        ]
    )
    data = SeededDataset([{"image": image, "brain_mask": mask}] * 2, chain, donor_key="donor")
    item = data[0]
    changed = (item["image"] - item["clean"]).abs()
    assert changed.max() > 0.02
    assert changed[mask == 0].max() == item["label"][mask == 0].max() == 0
    assert changed[item["label"] > 0.5].mean() > 5 * changed[(item["label"] < 0.05) & (mask > 0)].mean()
    standard = LandmarkStandardize(quantiles)(image)
    assert (item["clean"] - standard).abs().max() > 0  # the healthy variation
    assert torch.corrcoef(torch.stack([item["clean"][mask > 0], standard[mask > 0]]))[0, 1] > 0.9
    assert LandmarkStandardize()(torch.tensor([[-1.0, 0.5, 2.0]])).tolist() == [[0.0, 0.5, 1.0]]
