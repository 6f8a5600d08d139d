# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A real Orthanc with DICOMweb; it listens on all addresses and refuses what does not come from this machine."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextlib.contextmanager
def orthanc(folder: Path, port: int = 8042, **settings: Any) -> Iterator[str]:
    """
    Start one.

    Args:
        folder: its files.
        port: of HTTP.
        settings: of Orthanc's own configuration.

    Returns:
        Its address.
    """
    config = {
        **{"Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")},
        **{"HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False},
        **{"AuthenticationEnabled": False, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}},
        **{"Plugins": [str(PLUGIN)], **settings},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/dicom-web/studies", timeout=5).ok:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.25)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def post(url: str, datasets: Iterable[Any]) -> None:
    """Store DICOM instances."""
    with requests.Session() as session:
        for dataset in datasets:
            buffer = io.BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            assert session.post(f"{url}/instances", data=buffer.getvalue(), timeout=30).ok
