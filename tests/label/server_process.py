# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A real server in a process of its own, on the loopback address."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
# MONAI Label's own command and routes; only what it needs to be imported here is filled in.
PLAIN = ("-c", "import monai_cuas.label\nfrom monailabel.main import Main\nMain().run()")
OURS = ("-m", "monai_cuas.label")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A started server; ``url`` is where it answers."""

    def __init__(self, folder: Path, app: Path, studies: str, command=OURS, **environment: str) -> None:
        port = free_port()
        self.url, self.folder = f"http://127.0.0.1:{port}", folder
        self.log = folder / f"server-{port}.log"
        # An empty folder to run in, as the server reads .env there; nothing of it goes into the home folder.
        places = {name: folder / name for name in ("run", "home", "tmp")}
        for place in places.values():
            place.mkdir(exist_ok=True)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # An app that served in this process has left its number (label/lifeline.py); this server is not its child.
        given = {k: v for k, v in os.environ.items() if not k.startswith(("MONAI_LABEL", "MONAI_CUAS"))}
        own = {"PYTHONPATH": path, "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "OMP_NUM_THREADS": "1"}
        own["MONAI_LABEL_AUTO_UPDATE_SCORING"] = "false"
        own["PATH"] = str(Path(sys.executable).parent) + os.pathsep + given.get("PATH", "")
        start = [] if "start_server" in command else ["start_server"]
        arguments = [*start, "--app", str(app), "--studies", studies, "--port", str(port)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, *arguments, "--host", "127.0.0.1"],
                cwd=places["run"],
                env={**given, **own, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds: float = 300) -> Server:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return self
            time.sleep(0.3)
        self.stop(signal.SIGKILL)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def running(*args, **kwargs) -> Iterator[Server]:
    server = Server(*args, **kwargs)
    try:
        yield server.wait()
    finally:
        server.stop()
