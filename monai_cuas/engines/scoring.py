# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One way from scans to anomaly maps on their own grid, shared by calibration and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from monai.data import ThreadBuffer
from tqdm import tqdm

__all__ = ["score_scans"]


def score_scans(
    dataset: Any,
    network: torch.nn.Module,
    methods: Mapping[str, Callable],
    postprocessing: Callable,
    device: torch.device | str = "cpu",
    desc: str = "scoring",
) -> Iterator[tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """
    Yield each scan with the map of each method; every method has the same grid, inverse, mask and smoothing.

    A scan is read once for all methods, and the next one is read while the network works on this one.

    Args:
        dataset: a ``TolerantDataset`` over the preprocessing; it keeps the list of scans that failed.
        network: in evaluation mode from here on.
        methods: name to inferer, called as inferer(volume (1, C, X, Y, Z), network).
        postprocessing: takes a dictionary with "pred", (1, X, Y, Z), and leaves the map on the native grid in
            "anomaly".
        device: where the network runs.
        desc: text of the progress bar.

    Yields:
        The preprocessed item and, by method, the map (X, Y, Z) on the scan's own grid.
    """
    network.to(device).eval()
    for item in tqdm(ThreadBuffer(dataset, buffer_size=1), total=len(dataset.data), desc=desc, leave=False):
        volume = item["image"].unsqueeze(0).to(device)
        maps = {}
        with torch.no_grad():
            for name, inferer in methods.items():
                pred = inferer(volume, network)[0].cpu()
                maps[name] = postprocessing({**item, "pred": pred})["anomaly"][0]
        yield item, maps
