# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Memory and time of a cold pass over a folder of scans: ``python benchmarks/reading.py ../shared/data/ixi_t1/stripped``.

Reads every scan with the bundle's preprocessing and computes a map of each with an untrained network of the bundle's
size, once one after the other and once with the next scan read ahead. Prints seconds, the most volumes alive at a time,
the peak of NumPy's and Python's memory (tracemalloc) above the start, and the peak of the process's resident memory.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from monai.inferers import SliceInferer

from monai_cuas.data.read_ahead import read_ahead
from monai_cuas.data.robust import TolerantDataset
from monai_cuas.data.scans import scan_datalist
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.transforms import AnomalyPreprocessing


class _Counted:
    """The preprocessing, with a count of the volumes that are alive and the seconds that it took."""

    def __init__(self, preprocessing: Callable) -> None:
        self.preprocessing, self.alive, self.most, self.seconds = preprocessing, weakref.WeakSet(), 0, 0.0

    def __call__(self, entry: Any) -> Any:
        start = time.perf_counter()
        item = self.preprocessing(entry)
        self.alive.add(item["image"])
        self.most = max(self.most, len(self.alive))
        self.seconds += time.perf_counter() - start
        return item


def _resident_mb() -> float:
    """Peak of the process's resident memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _pass(name: str, scans: list[dict[str, Any]], ahead: Callable[[Iterable], Iterable], network: Any) -> None:
    counted = _Counted(AnomalyPreprocessing(image_size=96))
    inferer = SliceInferer(roi_size=[96, 96], spatial_dim=2, sw_batch_size=16)
    dataset = TolerantDataset(scans, counted)
    gc.collect()
    tracemalloc.start()
    before, resident = tracemalloc.get_traced_memory()[0], _resident_mb()
    start, working = time.perf_counter(), 0.0
    with torch.no_grad():
        for item in ahead(dataset):
            began = time.perf_counter()
            inferer(item["image"].unsqueeze(0).as_tensor(), network)
            working += time.perf_counter() - began
            del item
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"{name}: {len(scans)} scans in {seconds:.0f} s (reading {counted.seconds:.0f} s, network {working:.0f} s), "
        f"at most {counted.most} volumes alive, {(peak - before) / 2**20:.0f} MB at the peak above the start, "
        f"resident peak {_resident_mb():.0f} MB (was {resident:.0f} MB), {len(dataset.failed)} failed"
    )


def main() -> None:
    """Run both passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--limit", type=int, help="number of scans; all by default")
    arguments = parser.parse_args()
    scans = scan_datalist(arguments.folder)[: arguments.limit]
    network = AttentionVAE().eval()
    _pass("warm-up", scans[:2], iter, network)
    for count in sorted({min(12, len(scans)), len(scans)}):
        _pass("one after the other", scans[:count], iter, network)
        _pass("read ahead", scans[:count], read_ahead, network)


if __name__ == "__main__":
    main()
