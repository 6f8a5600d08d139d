# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The studies' folder under several processes and in the middle of a crash."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException

from monai_cuas.label import datastore
from monai_cuas.label.datastore import CheckedDatastore, is_normal

from . import scans


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        scans.save(tmp_path / f"{name}.nii.gz", scans.brain())
    return tmp_path


@pytest.fixture
def label(tmp_path_factory):
    return str(scans.save(tmp_path_factory.mktemp("label") / "l.nii.gz", np.zeros(scans.SHAPE, np.uint8)))


def test_two_processes_lose_nothing_of_each_other(folder, label):
    server, scoring = CheckedDatastore(str(folder), False), CheckedDatastore(str(folder), False)
    server.save_label("a", label, "final", {"by": "reader"})
    scoring.update_image_info("b", {"score": 2.5})
    scoring.update_image_info("a", {"score": 1.5})
    for store in (server, scoring, CheckedDatastore(str(folder), False)):
        assert store.get_image_info("b")["score"] == 2.5
        assert store.get_image_info("a")["score"] == 1.5
        assert store.get_label_info("a", "final")["by"] == "reader"
        assert store.get_labeled_images() == ["a"]
        assert is_normal(store, "a")


def test_many_threads_at_once(folder, label):
    store, failed = CheckedDatastore(str(folder), False), []

    def work(k: int) -> None:
        try:
            store.add_image(f"new{k % 4}", str(folder / "a.nii.gz"), {})
        except HTTPException as error:
            failed.append(error.status_code)
        store.save_label("b", label, "final", {"k": k})
        store.update_image_info("a", {f"k{k}": k})

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [409] * 4
    again = CheckedDatastore(str(folder), False)
    assert sorted(again.list_images()) == ["a", "b", "new0", "new1", "new2", "new3"]
    assert {f"k{k}" for k in range(8)} <= set(again.get_image_info("a"))
    assert not list(folder.rglob(".tmp-*"))


def test_a_crash_while_writing_leaves_what_was(folder, label, monkeypatch):
    store = CheckedDatastore(str(folder), False)
    store.save_label("a", label, "final", {"by": "first"})

    def dies(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(datastore.json, "dumps", dies)
    with pytest.raises(KeyboardInterrupt):
        store.save_label("a", label, "final", {"by": "second"})
    monkeypatch.undo()
    assert CheckedDatastore(str(folder), False).get_label_info("a", "final")["by"] == "first"


def test_a_corrected_final_label_is_a_new_version_and_the_old_one_stays(folder, label, tmp_path):
    store = CheckedDatastore(str(folder), False)
    spot = str(scans.save(tmp_path / "spot.nii.gz", scans.spot().astype(np.uint8)))
    for file, user in ((label, "first"), (spot, "second"), (label, "third")):
        store.save_label("a", file, "final", {"user": user})
    again = CheckedDatastore(str(folder), False)
    tags = {"final-1": ("first", False), "final-2": ("second", True), "final": ("third", False)}
    for tag, (user, marked) in tags.items():
        info = again.get_label_info("a", tag)
        assert info["user"] == user
        assert info["ts"] > 0
        assert datastore.read_label(again.get_label_uri("a", tag))[0].any() == marked
    for change in (
        lambda: again.save_label("a", spot, "final-1", {}),
        lambda: again.update_label_info("a", "final-1", {"user": "x"}),
    ):
        with pytest.raises(HTTPException, match="stay as they are"):
            change()
