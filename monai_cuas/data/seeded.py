# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Random transforms whose draws depend on seed, epoch and sample alone, not on which process makes them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Randomizable

__all__ = ["SeededDataset", "SeededTransform", "default_workers"]


def default_workers(most: int = 8) -> int:
    """Processes that may prepare training data: the machine's cores, at most ``most``; 0 where none may be started."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if multiprocessing.current_process().daemon else min(cores, most)


class SeededTransform:
    """
    A random transform that is seeded anew for each item.

    MONAI seeds its transforms once for each worker, so what is drawn depends on their number. Here the seed is of
    (``seed``, epoch, index): any number of workers gives the same items, and so does a run that was resumed.

    Args:
        transform: applied to a copy of each item; None: the items stay as they are.
        seed: of the whole run.
        donor_key: also give each item the "image" of another one, drawn at random, under this key; None: none.
    """

    def __init__(self, transform: Callable | None = None, seed: int = 0, donor_key: str | None = None) -> None:
        self.transform, self.seed, self.donor_key = transform, seed, donor_key
        # in shared memory: workers that outlive an epoch (persistent_workers) hold a copy of this object
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Of the run; the same in each process that has a copy of this transform."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __call__(self, index: int, fetch: Callable[[int], Mapping[str, Any]], count: int) -> dict[str, Any]:
        """
        Args:
            index: of the item.
            fetch: gives an item by its index.
            count: number of items.
        """
        item = dict(fetch(index))
        if self.transform is None:
            return item
        state = np.random.RandomState(np.random.SeedSequence((self.seed, self.epoch, index)).generate_state(4))
        if self.donor_key is not None:
            # the slice itself only if there is no other
            step = 1 + int(state.randint(max(count - 1, 1)))
            item[self.donor_key] = fetch((index + step) % count)["image"]
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=int(state.randint(2**31 - 1)))
        return self.transform(item)


class SeededDataset(Dataset):
    """
    Another data set behind a :class:`SeededTransform`.

    Args:
        data: the other data set; its items are dictionaries.
        transform, seed, donor_key: of :class:`SeededTransform`.
    """

    def __init__(
        self, data: Any, transform: Callable | None = None, seed: int = 0, donor_key: str | None = None
    ) -> None:
        super().__init__(data, None)
        self.draws = SeededTransform(transform, seed, donor_key)

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, for other draws in each; to be called before an iteration starts."""
        self.draws.epoch = epoch

    def _transform(self, index: int) -> dict[str, Any]:
        return self.draws(index, self.data.__getitem__, len(self.data))
