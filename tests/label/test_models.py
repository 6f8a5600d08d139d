# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The folder of models: what lies in it is served, and each scan is offered what it has the sequences for."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas import load_model
from monai_cuas.recipe import read_model, write_model

from ..bundle.conftest import write_bright, write_untrained
from . import scans
from .conftest import BUNDLE
from .test_app import bright_bundle, refused, serve, volume


def named(path: Path, *sequences: str) -> Path:
    """Let a weights file say which sequences it takes."""
    read = read_model(path)
    recipe = dataclasses.replace(read.recipe, sequences=list(sequences))
    write_model(path, read.network, recipe, {"n_scans": 0})
    return path


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    """Models flair, t1 and amcons beside the bright one that trains; scans of two contrasts."""
    studies, bundle = tmp_path / "studies", bright_bundle(tmp_path / "bundle")
    studies.mkdir()
    for name, seed in (("sub-1_FLAIR", 0), ("sub-1_T1w", 1), ("sub-2_T2w", 2), ("nameless", 3)):
        scans.save(studies / f"{name}.nii.gz", scans.brain(seed))
    with serve(monkeypatch, tmp_path, studies, bundle) as client:
        yield client, tmp_path / "app" / "model" / "cuas" / "models", studies


def infer(client, model: str, query: str, output: str = "json", files=None, **params):
    form = {"params": json.dumps({"rate": 0.3, **params})}
    return client.post(f"/infer/{model}?{query}&output={output}", data=form, files=files)


def test_each_file_is_a_model_and_its_mask_is_the_command_lines(hospital, tmp_path):
    client, folder, studies = hospital
    info = client.get("/info/").json()
    assert list(info["models"]) == ["cuas", "auto", "phantom", "flair", "t1"]
    assert info["models"]["flair"]["sequences"] == ["FLAIR"]
    assert info["models"]["flair"]["weights"] == load_model("flair").digest
    assert info["models_left_out"] == {}
    for name, scan in (("flair", "sub-1_FLAIR"), ("t1", "sub-1_T1w")):
        found = volume(infer(client, name, f"image={scan}", "image"), tmp_path)
        expected = load_model(name).find(str(studies / f"{scan}.nii.gz"), 0.3)
        assert expected.mask.any()
        np.testing.assert_array_equal(found, expected.mask)
        said = infer(client, name, f"image={scan}").json()
        assert (said["model"], said["weights"]) == (name, expected.summary["weights"])


def test_a_file_is_added_replaced_and_removed_without_a_restart(hospital, tmp_path):
    client, folder, _ = hospital
    refused(infer(client, "amcons", "image=sub-1_FLAIR"), 404)
    own = write_untrained(tmp_path / "amcons.pt", "amcons", image_size=48, channels=[4, 8], layers=[1, 1])
    shutil.copy(named(own, "FLAIR"), folder / "model_amcons.pt")
    assert client.get("/info/").json()["models"]["amcons"]["method"] == "AMCons"
    assert infer(client, "amcons", "image=sub-1_FLAIR").json()["method"] == "AMCons"
    shutil.copy(write_bright(tmp_path / "bright.pt"), tmp_path / "new.pt")
    os.replace(tmp_path / "new.pt", folder / "model_amcons.pt")
    assert infer(client, "amcons", "image=sub-1_FLAIR").json()["method"] == "raw intensity"
    (folder / "model_amcons.pt").unlink()
    refused(infer(client, "amcons", "image=sub-1_FLAIR"), 404)
    assert "amcons" not in client.get("/info/").json()["models"]


def test_what_cannot_be_served_is_left_out_and_listed(hospital, tmp_path):
    client, folder, _ = hospital
    half = (folder / "model_flair.pt").read_bytes()[:100_000]
    (folder / "model_half.pt").write_bytes(half)
    (folder / "model_auto.pt").write_bytes(half)
    (folder / "model_a b.pt").write_bytes(half)
    (folder / "other.pt").write_bytes(half)
    (folder / "model_folder.pt").mkdir()
    os.mkfifo(folder / "model_pipe.pt")
    (folder / "model_gone.pt").symlink_to(tmp_path / "nowhere")
    info = client.get("/info/").json()
    assert list(info["models"]) == ["cuas", "auto", "phantom", "flair", "t1"]
    left_out = info["models_left_out"]
    assert set(left_out) == {f"model_{name}.pt" for name in ("half", "auto", "a b", "folder", "pipe", "gone")} | {
        "other.pt"
    }
    assert "no readable weights" in left_out["model_half.pt"]
    assert "server's own" in left_out["model_auto.pt"]
    assert "/" not in "".join(left_out.values())
    assert client.get("/models/").json()["left_out"] == left_out
    refused(infer(client, "half", "image=sub-1_FLAIR"), 404)
    assert infer(client, "flair", "image=sub-1_FLAIR").status_code == 200
    # mended, it is there
    shutil.copy(folder / "model_flair.pt", folder / "model_half.pt")
    assert infer(client, "half", "image=sub-1_FLAIR").status_code == 200


@pytest.mark.parametrize(
    ("scan", "model", "note"),
    [
        ("sub-1_FLAIR", "flair", ""),
        ("sub-1_T1w", "t1", ""),
        ("sub-2_T2w", "cuas", "no weights for T2 are there, so the weights 'cuas' were used"),
        ("nameless", "cuas", "could not be told"),
    ],
)
def test_a_scan_is_offered_the_model_of_its_contrast(hospital, scan, model, note):
    client, _, studies = hospital
    said = infer(client, "auto", f"image={scan}", threshold=1.0).json()
    assert said["model"] == model
    # of the choice, not of how the toy scan looks to the weights
    doubts = [n for n in said["notes"] if ("contrast" in n or "weights" in n) and "rim" not in n]
    assert len(doubts) == bool(note)
    assert note in " ".join(doubts)
    offered = client.get(f"/models/?image={scan}").json()["offered"]
    assert [offer["model"] for offer in offered] == ([] if model == "cuas" else [model])
    # an upload, by its name
    content = (studies / f"{scan}.nii.gz").read_bytes()
    uploaded = infer(client, "auto", "x=1", files={"file": (f"{scan}.nii.gz", content)}, threshold=1.0).json()
    assert uploaded["model"] == model


def test_another_models_scan_is_done_with_a_note(hospital):
    client, _, _ = hospital
    (note,) = [n for n in infer(client, "t1", "image=sub-1_FLAIR").json()["notes"] if "is for" in n]
    assert note == "it is taken for FLAIR (file name), but the model 't1' is for T1"


def test_the_next_scan_comes_with_its_model(hospital):
    client, folder, _ = hospital
    found = client.post("/activelearning/most_anomalous", json={}).json()
    assert found["model"] == {"sub-1_FLAIR": "flair", "sub-1_T1w": "t1"}.get(found["id"], "cuas")


def test_the_next_scan_is_one_whose_score_compares(hospital):
    """Scans of another contrast than the weights' come last however high their scores, and a note says so."""
    client, folder, _ = hospital
    named(folder / "model.pt", "T1")
    found = client.post("/activelearning/most_anomalous", json={}).json()
    assert found["id"] in ("sub-1_T1w", "nameless")  # what nothing tells may be one
    empty = {"label": ("l.nii.gz", _empty())}
    for image in ("sub-1_T1w", "nameless"):
        assert client.put(f"/datastore/label?image={image}", files=empty).status_code == 200
    found = client.post("/activelearning/most_anomalous", json={}).json()
    assert found["id"] in ("sub-1_FLAIR", "sub-2_T2w")
    (note,) = found["notes"]
    assert "the model 'cuas' is for T1" in note


def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        return scans.save(Path(place, "l.nii.gz"), np.zeros(scans.SHAPE, np.uint8)).read_bytes()


def test_scores_are_those_of_the_model_that_trains(hospital):
    """Scores of other weights cannot be compared, so they do not enter the order of reading."""
    client, _, _ = hospital
    mine = infer(client, "cuas", "image=sub-1_FLAIR", threshold=1.0).json()
    kept = client.get("/datastore/image/info?image=sub-1_FLAIR").json()["monai_cuas"]
    assert kept == {"score": mine["scan_score"], "weights": mine["weights"]}
    assert infer(client, "flair", "image=sub-1_FLAIR").json()["scan_score"] != mine["scan_score"]
    assert client.get("/datastore/image/info?image=sub-1_FLAIR").json()["monai_cuas"] == kept


@pytest.mark.parametrize("model", ["cuas", "auto", "flair"])
def test_what_a_request_may_say_holds_for_every_model(hospital, model):
    client, _, _ = hospital
    for bad in ({"bundle_path": "/tmp"}, {"label_tag": "final", "save_label": True}, {"rate": 2}, {"images": ["x"]}):
        refused(infer(client, model, "image=sub-1_FLAIR", **bad), 400)
    answer = client.post(f"/batch/infer/{model}?run_sync=true", json={"bundle_path": "/tmp"})
    assert "bundle_path" in refused(answer, 400)
    assert client.get("/datastore/").json()["label_tags"] == {}


def test_a_batch_takes_for_each_scan_its_own_model(hospital):
    client, _, _ = hospital
    done = client.post("/batch/infer/auto?run_sync=true", json={"threshold": 1.0}).json()
    assert not [result["error"] for result in done.values() if "error" in result]
    assert {scan: result["params"]["model"] for scan, result in done.items()} == {
        "sub-1_FLAIR": "flair",
        "sub-1_T1w": "t1",
        "sub-2_T2w": "cuas",
        "nameless": "cuas",
    }
    info = client.get("/datastore/label/info?label=sub-1_T1w&tag=original").json()
    assert (info["model"], info["by"]) == ("t1", "model")


def test_files_of_the_folder_do_not_train(hospital):
    client, folder, _ = hospital
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("flair", "auto"):
        assert "cuas trains here" in refused(client.post(f"/train/{name}?run_sync=true", json={"max_epochs": 1}), 409)
    refused(client.post("/train/nobody", json={}), 404)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_shipped_models_are_in_a_new_app(hospital):
    _, folder, _ = hospital
    for name in ("model_flair.pt", "model_t1.pt"):
        assert (folder / name).read_bytes() == (BUNDLE / "models" / name).read_bytes()
