# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Eight clients at once on a server of its own, good and bad requests mixed; the figures of docs/how-to/hospital.md.

    python -m benchmarks.label_load --minutes 5

Traffic goes to 127.0.0.1 alone. Exit code 1 for a wrong answer, a crash, files left over, or memory grown by over 10%.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import requests

from monai_cuas.label.install import write_app
from tests.label import scans
from tests.label.server_process import Server, running


def _requests(folder: Path) -> dict[str, tuple[int, dict]]:
    """Name to the status that must be answered and the arguments of the request."""
    good = (folder / "studies" / "scan0.nii.gz").read_bytes()
    rate = {"params": json.dumps({"rate": 0.3})}
    ask = "/infer/cuas?output=image&image="
    return {
        **{f"scan {k}": (200, {"url": f"{ask}scan{k}", "data": rate}) for k in range(4)},
        "upload": (200, {"url": ask, "data": rate, "files": {"file": ("a.nii.gz", good)}}),
        "cut off": (422, {"url": ask, "data": rate, "files": {"file": ("a.nii.gz", good[:2000])}}),
        "unknown": (404, {"url": f"{ask}nobody", "data": rate}),
        "path": (400, {"url": f"{ask}/etc/hostname", "data": rate}),
        "no brain": (422, {"url": f"{ask}square", "data": rate}),
        "bad rate": (400, {"url": f"{ask}scan0", "data": {"params": '{"rate": 7}'}}),
        "bad label": (
            422,
            {"url": "/datastore/label?image=scan0", "method": "PUT", "files": {"label": ("a.nii", good)}},
        ),
    }


def _send(server: Server, request: dict) -> tuple[int, str]:
    request = dict(request)
    method, url = request.pop("method", "POST"), server.url + request.pop("url")
    answer = requests.request(method, url, timeout=120, **request)
    return answer.status_code, hashlib.sha256(answer.content).hexdigest() if answer.ok else ""


def _memory(server: Server) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def _load(
    server: Server, asked: dict, seconds: float, clients: int
) -> tuple[Counter, list[float], list[str], list[float]]:
    """Counts, seconds, wrong answers and memory over time."""
    expected = {name: _send(server, request) for name, (status, request) in asked.items()}
    wrong = [f"{n}: {expected[n][0]}" for n, (status, _) in asked.items() if expected[n][0] != status]
    counts: Counter = Counter()
    took: list[float] = []
    end = time.monotonic() + seconds

    def client(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end:
            name = rng.choice(list(asked))
            start = time.monotonic()
            found = _send(server, asked[name][1])
            took.append(time.monotonic() - start)
            counts[name] += 1
            # equal bytes: the server writes no time into its files
            if found != expected[name]:
                wrong.append(f"{name}: {found}")

    threads = [threading.Thread(target=client, args=(k,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(2)
        memory.append(_memory(server))
    return counts, took, wrong, memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "studies").mkdir()
        for k in range(4):
            scans.save(folder / "studies" / f"scan{k}.nii.gz", scans.brain(k))
        scans.save(folder / "studies" / "square.nii.gz", np.ones((20, 20, 20), np.int16))
        with running(folder, write_app(folder / "app"), str(folder / "studies")) as server:
            asked = _requests(folder)
            # what is loaded at the first requests is no growth
            _load(server, asked, min(30.0, arguments.minutes * 12), arguments.clients)
            warm, before = _memory(server), set((folder / "tmp").iterdir())
            counts, took, wrong, memory = _load(server, asked, arguments.minutes * 60, arguments.clients)
            alive = server.process.poll() is None
            left = [path.name for path in set((folder / "tmp").iterdir()) - before]
    quick = np.quantile(took, [0.5, 0.95, 1.0]).round(2)
    print(
        f"{sum(counts.values())} requests by {arguments.clients} clients in {arguments.minutes:g} min: {dict(counts)}"
    )
    print(f"seconds: median {quick[0]}, 95% {quick[1]}, longest {quick[2]}")
    print(f"memory: {warm:.0f} MB warm, {memory[-1]:.0f} MB at the end, {max(memory):.0f} MB at most")
    print(f"wrong answers: {len(wrong)} {wrong[:3]}; alive: {alive}; temporary files left: {left}")
    return int(bool(wrong) or not alive or bool(left) or memory[-1] > 1.1 * warm)


if __name__ == "__main__":
    sys.exit(main())
