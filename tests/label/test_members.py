# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Bad members of the studies' folder are left out and listed; reading order and scoring go on for everybody."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monailabel.interfaces.utils.app import app_instance

from monai_cuas.label.datastore import CheckedDatastore
from monai_cuas.label.members import divide, shown, why_left_out

from . import scans
from .test_app import bright, infer, refused  # noqa: F401

STRANGE = ["DOE JOHN.nii.gz", "caf\u00e9.nii.gz", "a\nb.nii", "-x.nii.gz", "a..b.nii", ".nii.gz", "x" * 200 + ".nii.gz"]
STRANGE += ["semi;colon.nrrd", "$(id).nii", "UPPER.NII.GZ", "\u202ename.nii.gz"]


def spoil(studies) -> set[str]:
    """Put one of each kind into a folder of scans; gives their names as they are to be listed."""
    content = (studies / "lesion.nii.gz").read_bytes()
    for name in STRANGE:
        (studies / name).write_bytes(content)
    with open(os.path.join(os.fsencode(studies), b"latin-\xe9.nii.gz"), "wb") as file:
        file.write(content)
    (studies / "folder.nii.gz").mkdir()
    (studies / "nowhere.nii.gz").symlink_to(studies / "gone")
    (studies / "loop.nii.gz").symlink_to(studies / "loop.nii.gz")
    (studies / "out.nii.gz").symlink_to("/etc/hostname")
    os.mkfifo(studies / "pipe.nii.gz")
    (studies / "lesion.nrrd").write_bytes(b"the same id")
    (studies / "labels" / "My Tag").mkdir(parents=True)
    (studies / "labels" / "final").mkdir(exist_ok=True)
    (studies / "labels" / "final" / "John Doe.nii.gz").write_bytes(content)
    listed = {shown(name) for name in STRANGE} | {r"latin-\xe9.nii.gz", "lesion.nrrd", "labels/My Tag"}
    listed |= {f"{name}.nii.gz" for name in ("folder", "nowhere", "loop", "out", "pipe", "labels/final/John Doe")}
    return listed


def test_each_kind_is_left_out_with_its_reason(tmp_path):
    scans.save(tmp_path / "lesion.nii.gz", scans.brain())
    scans.save(tmp_path / "second.nii", scans.brain())
    spoil(tmp_path)
    usable, others = divide(str(tmp_path))
    assert usable == ["lesion.nii.gz", "second.nii"]
    assert all("\n" not in reason for reason in others.values())
    assert "pipe" in others["pipe.nii.gz"]
    assert "nowhere" in others["loop.nii.gz"]
    assert "leads out" in others["out.nii.gz"]
    assert others["folder.nii.gz"] == "it is a folder"
    assert "small letters" in others["UPPER.NII.GZ"]
    assert "lesion.nii.gz" in others["lesion.nrrd"]
    json.dumps({shown(name): reason for name, reason in others.items()}).encode()


def test_what_may_not_be_read_is_left_out(tmp_path, monkeypatch):
    scans.save(tmp_path / "a.nii.gz", scans.brain())
    monkeypatch.setattr("monai_cuas.label.members.os.access", lambda path, how: False)
    assert "may not read" in why_left_out(str(tmp_path), "a.nii.gz")


def test_reading_order_scoring_and_batch_go_on(bright, tmp_path):  # noqa: F811
    listed = spoil(tmp_path / "studies")
    scans.save(tmp_path / "studies" / "empty.nii.gz", np.zeros(scans.SHAPE, np.int16))
    (tmp_path / "studies" / "bytes.nii.gz").write_bytes(b"")
    app_instance().datastore().refresh()
    everything = bright.get("/datastore/?output=all").json()
    assert set(everything["left_out"]) == listed
    assert set(everything["objects"]) - {"out"} == {"lesion", "healthy", "empty", "bytes"}
    assert bright.get("/datastore/").json()["left_out"] == len(listed)
    assert bright.get("/datastore/").json()["total"] == 4
    assert bright.get("/info/").status_code == 200
    scored = bright.post("/scoring/scan_score?run_sync=true", json={}).json()
    assert scored["scored"] == 2
    assert set(scored["failed"]) == {"empty", "bytes"}
    assert set(scored["left_out"]) == listed
    assert bright.post("/activelearning/most_anomalous", json={}).json()["id"] == "lesion"
    assert set(bright.post("/batch/infer/cuas?run_sync=true", json={}).json()) == {
        "lesion",
        "healthy",
        "empty",
        "bytes",
    }
    assert infer(bright, "lesion", "json", threshold=1.9).status_code == 200
    for name, status in (("pipe", 422), ("folder", 422), ("out", 403), ("nowhere", 422), ("DOE JOHN", 400)):
        refused(infer(bright, name), status)


def test_a_scan_that_raises_something_unforeseen_ends_nothing(bright, monkeypatch):  # noqa: F811
    model = app_instance().model
    find = model.find

    def fails(image, options):
        if "healthy" in str(image):
            raise MemoryError("of a patient named DOE")
        return find(image, options)

    monkeypatch.setattr(model, "find", fails)
    assert bright.post("/activelearning/most_anomalous", json={}).json()["id"] == "lesion"
    scored = bright.post("/scoring/scan_score?run_sync=true", json={}).json()
    assert (scored["scored"], list(scored["failed"])) == (1, ["healthy"])
    assert "DOE" not in json.dumps(scored)
    batch = bright.post("/batch/infer/cuas?run_sync=true", json={}).json()
    assert "error" in batch["healthy"]
    assert "label" in batch["lesion"]


def test_an_index_that_names_bad_members_and_bad_scores_is_mended(tmp_path):
    scans.save(tmp_path / "good.nii.gz", scans.brain())
    shutil.copy(tmp_path / "good.nii.gz", tmp_path / "bad name.nii.gz")
    entry = {"image": {"ext": ".nii.gz", "info": {"monai_cuas": {"weights": "x", "score": "high"}}}, "labels": {}}
    index = {"name": "x", "description": "", "objects": dict.fromkeys(("good", "bad name", "../x", "a\u0000b"), entry)}
    (tmp_path / "datastore_v2.json").write_text(json.dumps(index))
    store = CheckedDatastore(str(tmp_path), False)
    assert store.list_images() == ["good"]
    from monai_cuas.label.reading import _kept

    assert _kept(store, "good") == {}
    assert _kept(store, "gone") == {}
