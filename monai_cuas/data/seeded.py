# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Random transforms whose draws depend on seed, epoch and sample alone, not on which process makes them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from monai.data import Dataset
from monai.transforms import Randomizable

__all__ = ["SeededDataset", "default_workers"]


def default_workers(most: int = 8) -> int:
    """Processes that may prepare training data: the machine's cores, at most ``most``; 0 where none may be started."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if multiprocessing.current_process().daemon else min(cores, most)


class SeededDataset(Dataset):
    """
    Another data set behind a random transform that is seeded anew for each item.

    MONAI seeds its transforms once for each worker, so what is drawn depends on their number. Here the seed is of
    (``seed``, epoch, index): any number of workers gives the same items, and so does a run that was resumed.

    Args:
        data: the other data set; its items are dictionaries.
        transform: applied to a copy of each item; None: the items as they are.
        seed: of the whole run.
        donor_key: also give each item the "image" of another one, drawn at random, under this key; None: none.
    """

    def __init__(
        self, data: Any, transform: Callable | None = None, seed: int = 0, donor_key: str | None = None
    ) -> None:
        super().__init__(data, transform)  # type: ignore[arg-type]
        self.seed, self.epoch, self.donor_key = seed, 0, donor_key

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, for other draws in each; to be called before an iteration starts."""
        self.epoch = epoch

    def _transform(self, index: int) -> dict[str, Any]:
        if self.transform is None:
            return self.data[index]
        state = np.random.RandomState(np.random.SeedSequence((self.seed, self.epoch, index)).generate_state(4))
        item = dict(self.data[index])
        if self.donor_key is not None:
            # the slice itself only if there is no other
            step = 1 + int(state.randint(max(len(self.data) - 1, 1)))
            item[self.donor_key] = self.data[(index + step) % len(self.data)]["image"]
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=int(state.randint(2**31 - 1)))
        return self.transform(item)
