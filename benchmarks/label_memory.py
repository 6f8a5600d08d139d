# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
The most memory that the server takes for one scan, by the scan's size; the limit in deploy/compose.yaml is above it.

    python -m benchmarks.label_memory --sizes 256,256,180 512,512,512

Each size has a server of its own. Linux only: the kernel keeps the most that a process had.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import requests

from monai_cuas.label.install import write_app
from tests.label import scans
from tests.label.server_process import Server, running


def _most(server: Server) -> float:
    """MiB that the server had at most since it was started."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 2**10


def _brain(shape: tuple[int, ...]) -> np.ndarray:
    """(X, Y, Z) int16: the test's brain with each voxel repeated, and some noise."""
    small = scans.brain()
    index = [np.arange(n) * m // n for n, m in zip(shape, small.shape)]
    image = small[np.ix_(*index)]
    noise = np.random.default_rng(0).integers(0, 20, shape[:2])[..., None]
    return np.where(image > 0, image + noise, 0).astype(np.int16)


def _measure(folder: Path, shape: tuple[int, ...]) -> str:
    (folder / "studies").mkdir(parents=True)
    affine = np.diag([*(180.0 / n for n in shape), 1.0])
    scans.save(folder / "studies" / "scan.nii.gz", _brain(shape), affine)
    with running(folder, write_app(folder / "app"), str(folder / "studies")) as server:
        before, start = _most(server), time.monotonic()
        form = {"params": json.dumps({"anomaly_map": True})}
        answer = requests.post(f"{server.url}/infer/cuas?image=scan&output=all", data=form, timeout=1800)
        taken = time.monotonic() - start
        size = " x ".join(map(str, shape))
        return f"| {size} | {answer.status_code} | {before:.0f} | {_most(server):.0f} | {taken:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["256,256,180", "512,512,256", "512,512,512"])
    arguments = parser.parse_args()
    print("| voxels | status | MB started | MB at most | seconds |\n| --- | --- | --- | --- | --- |")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            print(_measure(Path(name), tuple(int(n) for n in size.split(","))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
