# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The server as MONAI Label's own command starts it, used through MONAI Label's client, and killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import requests
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

import psutil

from monai_cuas.label.install import write_app

from . import scans
from .server_process import OURS, PLAIN, Server, running
from .test_training import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    write_app(folder / "app")
    (folder / "studies" / "labels" / "final").mkdir(parents=True)
    scans.save(folder / "studies" / "DOE_JOHN.nii.gz", scans.brain())
    for k in range(11):
        scans.save(folder / "studies" / f"sub-{k:02d}.nii.gz", scans.brain(k, with_spot=False))
        empty = np.zeros(scans.SHAPE, np.uint8)
        scans.save(folder / "studies" / "labels" / "final" / f"sub-{k:02d}.nii.gz", empty)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    (folder / "overlay.json").write_text(json.dumps(TINY))
    command = (*PLAIN, "start_server", "--conf", "train_overlay", str(folder / "overlay.json"))
    with running(folder, folder / "app", str(folder / "studies"), command) as started:
        yield started


def infer(server, image="DOE_JOHN", **params):
    data = {"params": json.dumps({"rate": 0.3, **params})}
    return requests.post(f"{server.url}/infer/cuas?image={image}&output=image", data=data, timeout=60)


def test_the_plain_command_has_the_checked_routes(server):
    """MONAI Label's own routes would read the absolute path, and open /docs."""
    answer = infer(server, str(server.folder / "studies" / "DOE_JOHN.nii.gz"))
    assert answer.status_code == 400
    assert "not a path" in answer.json()["detail"]
    assert requests.get(f"{server.url}/docs", timeout=10).status_code == 404
    assert infer(server, "nobody").status_code == 404


def test_as_slicer_does_it(server, tmp_path):
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    assert client.info()["models"]["cuas"]["labels"] == {"anomaly": 1}
    sample = client.next_sample("most_anomalous", {})
    assert sample["id"] == "DOE_JOHN"
    file, params = client.infer("cuas", sample["id"], {"rate": 0.3, "result_extension": ".nrrd"})
    mask = sitk.ReadImage(file)
    assert mask.GetPixelID() == sitk.sitkUInt8
    scan = sitk.ReadImage(str(server.folder / "studies" / "DOE_JOHN.nii.gz"))
    np.testing.assert_allclose(mask.GetDirection(), scan.GetDirection(), atol=1e-5)
    array = sitk.GetArrayFromImage(mask)
    assert array.sum() > 0
    assert params["scan_score"] > 0
    volume, _ = client.infer("cuas", sample["id"], {"rate": 0.3, "result_extension": ".nrrd", "result": "anomaly"})
    anomaly = sitk.ReadImage(volume)
    assert anomaly.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_allclose(anomaly.GetDirection(), scan.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(anomaly.GetOrigin(), scan.GetOrigin(), atol=1e-3)
    values = sitk.GetArrayFromImage(anomaly)
    assert values[array > 0].min() >= values[array == 0].max() - 1e-5
    array[:2] = 0
    corrected = sitk.GetImageFromArray(array)
    corrected.CopyInformation(mask)
    sitk.WriteImage(corrected, str(tmp_path / "corrected.nrrd"))
    assert client.save_label("DOE_JOHN", str(tmp_path / "corrected.nrrd"), "final", {})["label"] == "DOE_JOHN"
    back = sitk.ReadImage(client.download_label("DOE_JOHN", "final"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), array)
    uploaded = scans.save(tmp_path / "added.nii.gz", scans.brain(33))
    assert client.upload_image(str(uploaded), "added")["image"] == "added"
    assert client.create_session(str(uploaded))["session_id"]


def test_training_in_the_background_then_killed_in_the_middle(server, folder):
    """A training that is killed leaves the served weights; the server, killed too, starts again with every label."""
    ids = {"max_epochs": 1000}
    assert requests.post(f"{server.url}/train/cuas", json=ids, timeout=60).json()["status"] in ("SUBMITTED", "RUNNING")
    versions = folder / "app" / "model" / "cuas" / "versions"
    end = time.monotonic() + 90
    while not list(versions.glob("*/checkpoints/*")) and time.monotonic() < end:
        time.sleep(0.5)
    assert list(versions.glob("*/checkpoints/*")), server.log.read_text()[-2000:]
    weights = requests.get(f"{server.url}/info/", timeout=60).json()["models"]["cuas"]["weights"]
    labels = requests.get(f"{server.url}/datastore/", timeout=60).json()
    assert requests.delete(f"{server.url}/train/", timeout=60).json()["status"] == "STOPPED"

    def ask() -> None:
        with contextlib.suppress(requests.ConnectionError):
            infer(server)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    server.stop(signal.SIGKILL)
    asking.join()
    with running(folder, folder / "app", str(folder / "studies"), PLAIN) as again:
        info = requests.get(f"{again.url}/info/", timeout=60).json()
        assert info["models"]["cuas"]["weights"] == weights
        assert info["datastore"] == labels
        assert infer(again).status_code == 200
        log = again.log.read_text()
    written = (folder / "app" / "logs" / "app.log").read_text()
    for name in ("DOE_JOHN", "sub-0"):
        assert name not in log + server.log.read_text() + written


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_training_ends_with_its_server_and_changes_nothing_afterwards(folder, tmp_path, how):
    shutil.copytree(folder / "app" / "model", tmp_path / "app" / "model")
    shutil.copy(folder / "app" / "main.py", tmp_path / "app" / "main.py")
    shutil.rmtree(tmp_path / "app" / "model" / "cuas" / "versions", ignore_errors=True)
    with running(tmp_path, tmp_path / "app", str(folder / "studies"), OURS) as server:
        began = requests.post(f"{server.url}/train/cuas", json={"max_epochs": 1000}, timeout=60)
        assert began.json()["status"] in ("SUBMITTED", "RUNNING")
        versions = tmp_path / "app" / "model" / "cuas" / "versions"
        end = time.monotonic() + 90
        while not list(versions.glob("*/checkpoints/*")) and time.monotonic() < end:
            time.sleep(0.5)
        assert list(versions.glob("*/checkpoints/*")), server.log.read_text()[-2000:]
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert children
        server.stop(how)
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not (tmp_path / "app" / "model" / "cuas" / "served.json").exists()


def test_a_server_that_cannot_start_says_why(tmp_path):
    app = write_app(tmp_path / "app")
    (app / "model" / "cuas" / "models" / "model.pt").write_bytes(b"no weights")
    (tmp_path / "studies").mkdir()
    with pytest.raises(RuntimeError, match="no readable weights file"):
        Server(tmp_path, app, str(tmp_path / "studies")).wait()


@pytest.mark.parametrize("command", [OURS, PLAIN])
def test_a_server_whose_surroundings_name_another_server_goes_on(folder, tmp_path, command):
    """As when it is started from a notebook in which an app has served."""
    with running(tmp_path, folder / "app", str(folder / "studies"), command, MONAI_CUAS_SERVER_PID="1") as started:
        time.sleep(2)
        assert started.process.poll() is None
        assert requests.get(f"{started.url}/health", timeout=10).status_code == 200
