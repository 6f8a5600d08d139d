# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One way from scans to anomaly maps on their own grid, shared by calibration and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from monai.data import MetaTensor

from ..data.read_ahead import read_ahead
from ..data.robust import TolerantDataset, note_failure
from ..utils import ScanError, add_notes, collected_notes
from ..utils.progress import track

__all__ = ["score_item", "score_scans"]


def _with_history(pred: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Give the map the image's metadata and spatial history, without which ``Invertd`` leaves it where it is."""
    if not isinstance(image, MetaTensor):
        return pred
    plain = pred.as_tensor() if isinstance(pred, MetaTensor) else pred
    return MetaTensor(plain, meta=deepcopy(image.meta), applied_operations=deepcopy(image.applied_operations))


def score_scans(
    datalist: Sequence[dict[str, Any]],
    preprocessing: Callable,
    network: torch.nn.Module,
    methods: Mapping[str, Callable],
    postprocessing: Callable,
    device: torch.device | str = "cpu",
    desc: str = "scoring",
    failed: list[tuple[str, str]] | None = None,
) -> Iterator[tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """
    Yield each scan with the map of each method; every method has the same grid, inverse, mask and smoothing.

    A scan is read once for all methods, and the next one is read while the network works on this one.

    Args:
        datalist: entries of the scans.
        preprocessing: from an entry to a dictionary with "image", (C, X, Y, Z), and "brain_mask" on the native grid.
        network: in evaluation mode from here on.
        methods: name to inferer, called as inferer(volume (1, C, X, Y, Z), network).
        postprocessing: takes a dictionary with "pred", (1, X, Y, Z), and leaves the map on the native grid in
            "anomaly".
        device: where the network runs.
        desc: text of the progress bar.
        failed: scans that cannot be used are added as (file, sentence).

    Yields:
        The preprocessed item and, by method, the map (X, Y, Z) on the scan's own grid.
    """
    network.to(device).eval()
    if not datalist:
        return
    scans = TolerantDataset(datalist, preprocessing, failed=failed)
    for item in track(read_ahead(scans), desc, total=len(datalist)):
        try:
            maps = _maps(item, network, methods, postprocessing, device)
        except Exception as error:
            note_failure(scans.failed, str(item["image"].meta.get("filename_or_obj", "a scan")), error)
            continue
        yield item, maps
        # Not to be held while the next ones are made.
        del item, maps


def score_item(
    item: Mapping[str, Any],
    network: torch.nn.Module,
    inferer: Callable,
    postprocessing: Callable,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """
    Map and postprocessing of one scan that is preprocessed.

    Args:
        item: with "image", (C, X, Y, Z), and "brain_mask" on the native grid.
        network: in evaluation mode.
        inferer: called as inferer(volume (1, C, X, Y, Z), network).
        postprocessing: takes a dictionary with "pred", (1, X, Y, Z).
        device: where the network runs.

    Returns:
        What the postprocessing leaves.
    """
    with torch.no_grad(), collected_notes() as notes:
        pred = inferer(item["image"].unsqueeze(0).to(device), network)[0].cpu()
    if notes and isinstance(item["image"], MetaTensor):
        add_notes(item["image"].meta, notes)
    return postprocessing({**item, "pred": _with_history(pred, item["image"])})


def _maps(
    item: Mapping[str, Any],
    network: torch.nn.Module,
    methods: Mapping[str, Callable],
    postprocessing: Callable,
    device: torch.device | str,
) -> dict[str, torch.Tensor]:
    scored = {n: score_item(item, network, inferer, postprocessing, device) for n, inferer in methods.items()}
    maps = {name: found["anomaly"][0] for name, found in scored.items()}
    for name, values in maps.items():
        if not torch.isfinite(torch.as_tensor(values)).all():
            file = item["image"].meta.get("filename_or_obj", "a scan")
            raise ScanError(file, f"its map by {name} holds values that are not numbers", "check the weights")
    return maps
