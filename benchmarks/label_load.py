# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Eight clients at once on a server of its own, good and bad requests mixed, and one attacker; the table of
docs/how-to/hospital.md.

    python -m benchmarks.label_load --minutes 15

Traffic goes to 127.0.0.1 alone. Exit code 1 for a wrong answer, a status of 500, a crash, files left over, or memory
grown by over 10%.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
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
            {"url": "/datastore/label?image=scan0", "method": "PUT", "files": {"label": ("a.nii.gz", good)}},
        ),
    }


def _claims(shape: tuple[int, ...]) -> bytes:
    """NIfTI of zeros, compressed: kilobytes that are gigabytes when they are read."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(16):
            file.write(bytes(2**20))
    return packed.getvalue()


def _attacks(folder: Path) -> dict[str, tuple[int, dict]]:
    """What one who means harm asks for, and the status of the refusal."""
    ask, scan = "/infer/cuas?output=image&image=", "/infer/cuas?output=image&image=scan0"
    detached = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 9 9\nencoding: raw\ndata file: /etc/passwd\n\n"
    bomb = _claims((900, 900, 900))
    final = {"save_label": True, "label_tag": "final", "min_component_ml": 1e9}

    def said(params: str, url: str = scan, **more) -> dict:
        return {"url": url, "data": {"params": params}, **more}

    def sent(name: str, content: bytes, url: str = ask, **more) -> dict:
        field = more.pop("field", "file")
        return {"url": url, "files": {field: (name, content)}, **more}

    label = "/datastore/label?image=scan0"
    return {
        "final label by infer": (400, said(json.dumps(final))),
        "bundle_path": (400, {"url": "/scoring/scan_score", "json": {"bundle_path": str(folder)}}),
        "expression": (400, said('{"rate": "$__import__(\'os\').getpid()"}')),
        "rate 1e400": (400, said('{"rate": 1e400}')),
        "deep JSON": (400, said("[" * 5000)),
        "climbing path": (400, {"url": f"{ask}..%2f..%2fetc%2fpasswd"}),
        "climbing tag": (400, sent("a.nii", b"x", f"{label}&tag=../../x", method="PUT", field="label")),
        "detached header": (422, sent("a.nrrd", detached)),
        "label of 900^3": (422, sent("a.nii.gz", bomb, label, method="PUT", field="label")),
        "scan of 900^3": (413, sent("a.nii.gz", bomb)),
        "the same, named .nii": (413, sent("a.nii", bomb)),
        "wrong type": (415, sent("a.pkl", b"\x80\x04N.")),
        "a year of scoring": (400, {"url": "/activelearning/most_anomalous", "json": {"seconds": 3e7}}),
        "another host": (400, said("{}", headers={"Host": "evil.example"})),
        "no such model": (404, {"url": "/infer/other?image=scan0"}),
    }


@dataclass
class _Seen:
    """What the clients saw, over all threads."""

    statuses: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def _send(server: Server, request: dict) -> tuple[int, str]:
    request = dict(request)
    method, url = request.pop("method", "POST"), server.url + request.pop("url")
    answer = requests.request(method, url, timeout=120, **request)
    return answer.status_code, hashlib.sha256(answer.content).hexdigest() if answer.ok else ""


def _memory(server: Server) -> float:
    """MiB of the server and of what it started."""
    process = psutil.Process(server.process.pid)
    return sum(part.memory_info().rss for part in (process, *process.children(recursive=True))) / 2**20


def _load(server: Server, good: dict, attacks: dict, seconds: float, clients: int) -> _Seen:
    """Send requests for a while; each answer must be that of the first time, byte for byte."""
    expected = {name: _send(server, request) for name, (_, request) in {**good, **attacks}.items()}
    seen = _Seen()
    asked = {**good, **attacks}
    seen.wrong += [f"{n}: {expected[n][0]} first" for n, (status, _) in asked.items() if expected[n][0] != status]
    end = time.monotonic() + seconds

    def client(names: list[str], rng: random.Random) -> None:
        while time.monotonic() < end:
            name = rng.choice(names)
            start = time.monotonic()
            try:
                found = _send(server, asked[name][1])
            except requests.RequestException as error:
                found = (0, type(error).__name__)
            seen.took.append(time.monotonic() - start)
            seen.kinds["attacks" if name in attacks else "bad" if asked[name][0] != 200 else "good"] += 1
            seen.statuses[found[0]] += 1
            # equal bytes: the server writes no time into its files
            if found != expected[name]:
                seen.wrong.append(f"{name}: {found}")

    kinds = [*[list(good)] * clients, list(attacks)]
    threads = [threading.Thread(target=client, args=(names, random.Random(k))) for k, names in enumerate(kinds)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(2)
        seen.memory.append(_memory(server))
    return seen


def _table(seen: _Seen, warm: float, minutes: float) -> Iterator[str]:
    """Rows of a Markdown table, memory as the median of each third of the time."""
    quick = np.quantile(seen.took, [0.5, 0.95, 1.0])
    thirds = [np.median(part) for part in np.array_split(seen.memory, 3)]
    yield from ("| | |", "| --- | --- |")
    yield f"| minutes | {minutes:g} |"
    yield "| requests | " + ", ".join(f"{n} {kind}" for kind, n in sorted(seen.kinds.items())) + " |"
    yield "| statuses | " + ", ".join(f"{n} of {status}" for status, n in sorted(seen.statuses.items())) + " |"
    yield f"| wrong answers | {len(seen.wrong)} |"
    yield f"| seconds for an answer | median {quick[0]:.2f}, 95% {quick[1]:.2f}, longest {quick[2]:.2f} |"
    over = ", ".join(f"{third:.0f}" for third in thirds)
    yield f"| memory, MB | {warm:.0f} warm; thirds of the time {over}; at most {max(seen.memory):.0f} |"


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
            good, attacks = _requests(folder), _attacks(folder)
            # what is loaded at the first requests is no growth
            _load(server, good, attacks, min(180.0, arguments.minutes * 12), arguments.clients)
            warm, before = _memory(server), set((folder / "tmp").rglob("*"))
            seen = _load(server, good, attacks, arguments.minutes * 60, arguments.clients)
            alive = server.process.poll() is None
            # what is cleared away after the last answers
            time.sleep(2)
            left = [path.name for path in set((folder / "tmp").rglob("*")) - before]
    print("\n".join(_table(seen, warm, arguments.minutes)))
    print(f"wrong: {seen.wrong[:5]}; alive: {alive}; temporary files left: {left}")
    grown = float(np.median(seen.memory[-len(seen.memory) // 3 :])) > 1.1 * warm
    failed = any(status >= 500 or status == 0 for status in seen.statuses)
    return int(bool(seen.wrong) or failed or not alive or bool(left) or grown)


if __name__ == "__main__":
    sys.exit(main())
