# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Whatever is sent to whatever route: no failure of the server, no silence, and afterwards it works as before."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import requests

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas.label.install import write_app
from monai_cuas.label.server import ROUTERS, create_app

from . import scans
from .odd_requests import TIMEOUT, failures
from .server_process import running
from .test_app import bright_bundle

USUAL = {
    **{"image": "lesion", "label": "lesion", "tag": "final", "model": "cuas", "strategy": "most_anomalous"},
    **{"method": "scan_score", "output": "json", "id": "nobody", "kind": "qido", "path": "studies"},
}


def description() -> dict:
    """Of every route, those too that the server's own description leaves out."""
    routes = [route for router in ROUTERS for route in router.routes]
    hidden = [route for route in routes if not route.include_in_schema]
    for route in hidden:
        route.include_in_schema = True
    try:
        return create_app().openapi()
    finally:
        for route in hidden:
            route.include_in_schema = False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    write_app(folder / "app", bright_bundle(folder / "bundle"))
    (folder / "studies").mkdir()
    scans.save(folder / "studies" / "lesion.nii.gz", scans.brain())
    with running(folder, folder / "app", str(folder / "studies")) as started:
        yield started


def works(server, tmp_path) -> None:
    """A scan is found in the reading order, and its mask is right."""
    first = requests.post(f"{server.url}/activelearning/most_anomalous", json={}, timeout=TIMEOUT).json()
    assert first["id"] == "lesion"
    form = {"params": '{"threshold": 1.9}'}
    answer = requests.post(f"{server.url}/infer/cuas?image=lesion&output=image", data=form, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(answer.content)
    found = np.asarray(nib.load(path).dataobj) > 0
    assert 2 * (found & scans.spot()).sum() / (found.sum() + scans.spot().sum()) > 0.8
    assert server.process.poll() is None


def left(server) -> list[str]:
    """What requests left in the temporary folder; a batch that one of them began may go on for some seconds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [p.name for p in (server.folder / "tmp").rglob("*") if p.name.startswith(("cuas-", "upload"))]
        if not found:
            break
        time.sleep(0.5)
    return found


def test_no_odd_request_fails_the_server(server, tmp_path):
    schema = description()
    assert {"/health", "/ohif/{path}", "/session/{session_id}", "/datastore/dataset"} <= set(schema["paths"])
    began = time.monotonic()
    count, wrong = failures(server.url, schema, USUAL, str(server.folder))
    assert count > 3000
    assert wrong == []
    assert time.monotonic() - began < 400
    works(server, tmp_path)
    assert left(server) == []


def test_no_request_that_schemathesis_makes_fails_the_server(server, tmp_path):
    pytest.importorskip("schemathesis", reason="needs schemathesis (bash .ci/label)")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--seed", "1"]
    command += ["--checks", "not_a_server_error", "--mode", "all", "--phases", "fuzzing,coverage", "-n", "10"]
    command += ["--request-timeout", str(TIMEOUT), "--generation-database", "none", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    works(server, tmp_path)
