# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Training on what readers marked normal; which weights are served afterwards."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException
from monailabel.interfaces.utils.app import app_instance

from monai_cuas.label.training import PARTS, not_worse, split_subjects

from . import scans
from .test_app import infer, refused, serve, volume

# As short as a training can be.
TINY = {"middle_slices": 2, "device": "cpu", "amp": False}


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Twelve scans that readers found normal, one with a lesion and one that nobody has read."""
    folder = tmp_path_factory.mktemp("hospital")
    studies = folder / "studies"
    (studies / "labels" / "final").mkdir(parents=True)
    nothing = np.zeros(scans.SHAPE, np.uint8)
    for k in range(12):
        scans.save(studies / f"sub-{k:02d}_FLAIR.nii.gz", scans.brain(k, with_spot=False))
        scans.save(studies / "labels" / "final" / f"sub-{k:02d}_FLAIR.nii.gz", nothing)
    scans.save(studies / "sub-90_FLAIR.nii.gz", scans.brain(90))
    scans.save(studies / "labels" / "final" / "sub-90_FLAIR.nii.gz", scans.spot().astype(np.uint8))
    scans.save(studies / "sub-91_FLAIR.nii.gz", scans.brain(91))
    (folder / "overlay.json").write_text(json.dumps(TINY))
    with pytest.MonkeyPatch.context() as patch:
        client = serve(patch, folder, studies, conf={"train_overlay": str(folder / "overlay.json")})
        with client:
            yield client, folder / "app" / "model" / "cuas"


def train(client, **request):
    return client.post("/train/cuas?run_sync=true", json={"max_epochs": 1, **request})


def test_new_weights_are_served_if_not_worse_and_the_old_ones_stay(hospital, tmp_path):
    client, bundle = hospital
    old, shipped = digest(bundle / "models" / "model.pt"), client.get("/info/").json()["models"]["cuas"]["weights"]
    before = volume(infer(client, "sub-90_FLAIR", rate=0.3), tmp_path)
    answer = train(client)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    (folder,) = (bundle / "versions").iterdir()
    lists = json.loads((folder / "dataset.json").read_text())
    used = [entry["image"] for part in PARTS for entry in lists[part]]
    assert len(used) == len(set(used)) == 12
    assert not any("sub-90" in path or "sub-91" in path for path in used)
    assert all(len(lists[part]) >= least for part, (least, _) in PARTS.items())
    # a calibration of its own, of this hospital's scans
    state = torch.load(folder / "model.pt", weights_only=True)["model"]
    assert torch.isfinite(state["calibration.thresholds"]).sum() > 5
    assert json.loads((folder / "model_calibration.json").read_text())["n_scans"] == len(lists["calibration"])
    assert report["new"]["scans"] == report["served"]["scans"] == len(lists["test_normal"])
    # the decision follows from the figures
    assert report["new_is_served"] == not_worse(report["new"], report["served"], report["rate"])
    assert digest(bundle / "models" / "model.pt") == old
    now = client.get("/info/").json()
    assert now["train_stats"]["cuas"] == report
    after = volume(infer(client, "sub-90_FLAIR", rate=0.3), tmp_path)
    if report["new_is_served"]:
        assert now["models"]["cuas"]["weights"] == digest(folder / "model.pt")[:12] != shipped
        assert not np.array_equal(before, after)
    else:
        assert now["models"]["cuas"]["weights"] == shipped
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("better", [True, False])
def test_the_figures_decide(hospital, monkeypatch, better):
    from monai_cuas.label import training

    client, bundle = hospital
    task = app_instance()._trainers["cuas"]
    served = task.model.weights()
    versions = set((bundle / "versions").glob("*"))
    figures = [(0.011, 0.2), (0.02, 0.3)]
    rates, losses = (iter(column) for column in zip(*(figures if better else figures[::-1])))
    monkeypatch.setattr(training, "held_out_rate", lambda *_: next(rates))
    monkeypatch.setattr(task, "_held_out_loss", lambda *_: next(losses))
    monkeypatch.setattr(task, "_train", lambda _, __, folder: (folder / "model.pt").write_bytes(served.read_bytes()))
    assert train(client).json()["new_is_served"] is better
    (new,) = set((bundle / "versions").glob("*")) - versions
    assert task.model.weights() == (new / "model.pt" if better else served)
    assert served.is_file()


def test_a_training_that_dies_changes_nothing(hospital, monkeypatch):
    client, bundle = hospital
    task = app_instance()._trainers["cuas"]
    served = task.model.weights()

    def dies(_, __, folder):
        (folder / "model.pt").write_bytes(b"half a file")
        raise RuntimeError("killed")

    monkeypatch.setattr(task, "_train", dies)
    assert "RuntimeError" in refused(train(client), 500)
    assert task.model.weights() == served
    assert infer(client, "sub-90_FLAIR").status_code == 200


def test_too_few_normals_is_said(hospital, monkeypatch):
    client, _ = hospital
    task = app_instance()._trainers["cuas"]
    monkeypatch.setattr(task, "_normals", lambda _: {"sub-01": ["x"]})
    assert "1 subjects are marked normal" in refused(train(client), 409)


def test_a_request_brings_no_config(hospital, tmp_path, monkeypatch):
    """A config of MONAI can hold Python; what is sent is not used as one."""
    client, _ = hospital
    seen = []
    monkeypatch.setattr("monai_cuas.label.training.run_config", lambda *args, **kwargs: seen.append(args[2]))
    evil = f"$open({str(tmp_path / 'evil')!r}, 'w')"
    for name in ("config", "initialize", "output_dir", "bundle_root", "train_overlay"):
        refused(train(client, **{name: evil}), 400)
    train(client, device=evil, network=evil)  # what MONAI Label's clients send; it means nothing here
    assert evil not in json.dumps(seen)
    assert seen[0]["device"] == "cpu"
    assert not (tmp_path / "evil").exists()
    for epochs in (0, evil, "5", True, 1e9):
        refused(train(client, max_epochs=epochs), 400)


def test_who_was_held_out_stays_so():
    first = split_subjects([f"s{k}" for k in range(12)], {})
    second = split_subjects([f"s{k}" for k in range(60)], first)
    assert {s: second[s] for s in first} == first
    for part, (least, share) in PARTS.items():
        assert abs(sum(p == part for p in second.values()) - max(least, share * 60)) <= 2
    with pytest.raises(HTTPException, match="needs 11"):
        split_subjects(["a"] * 20, {})


@pytest.mark.parametrize(
    ("new", "expected"),
    [((0.01, 0.2), True), ((0.012, 0.2), True), ((0.03, 0.2), False), ((0.0, 0.2), False), ((0.01, 0.4), False)],
)
def test_not_worse(new, expected):
    served = {"realised_rate": 0.015, "loss": 0.3}
    assert not_worse(dict(zip(("realised_rate", "loss"), new)), served, 0.01) is expected
