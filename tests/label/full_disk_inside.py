# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run by test_full_disk.py where SMALL_DISK is a file system of 1 MB."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from . import scans
from .test_app import _upload, bright_bundle, infer, refused, serve

STUDIES = Path(os.environ["SMALL_DISK"])
FILL = STUDIES / "fill"


@pytest.fixture
def server(tmp_path, monkeypatch):
    for path in STUDIES.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    scans.save(STUDIES / "lesion.nii.gz", scans.brain())
    with serve(monkeypatch, tmp_path, STUDIES, bright_bundle(tmp_path / "bundle")) as client:
        yield client


def fill(leave: int = 0) -> None:
    """Use up the disk but for some pages."""
    FILL.unlink(missing_ok=True)
    FILL.write_bytes(b"0" * (shutil.disk_usage(STUDIES).free - leave))
    assert shutil.disk_usage(STUDIES).free <= leave + PAGE


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in STUDIES.rglob("*") if p.is_file() and not p.name.endswith(".lock")}


PAGE = 4096


@pytest.mark.parametrize("leave", [0, 1, 2])
def test_nothing_is_half_saved(server, tmp_path, leave):
    """At each number of pages left something else fails: the index, or the file while there was room for the index."""
    # hardly compressible, so that it needs some pages
    label = np.random.default_rng(0).integers(0, 250, scans.SHAPE).astype(np.uint8)
    old = scans.save(tmp_path / "old.nii.gz", np.zeros(scans.SHAPE, np.uint8))
    new = scans.save(tmp_path / "new.nii.gz", label)
    scan = scans.save(tmp_path / "later.nii.gz", scans.brain(5))
    address = "/datastore/label?image=lesion"
    assert server.put(address, files={"label": (old.name, old.read_bytes())}).status_code == 200
    fill(leave * PAGE)
    before, listed = contents(), server.get("/datastore/?output=all").json()
    said = refused(server.put(address, files={"label": (new.name, new.read_bytes())}), 507)
    assert "disk is full; nothing was saved" in said
    refused(server.put("/datastore/image", files=_upload(scan)), 507)
    assert contents() == before
    assert server.get("/datastore/?output=all").json() == listed
    assert server.get("/datastore/label?label=lesion&tag=final").content == old.read_bytes()
    assert server.get("/health").status_code == 200
    # it can still be read, and saved as soon as there is room
    assert infer(server, "lesion", threshold=1.9).status_code == 200
    FILL.unlink()
    assert server.put(address, files={"label": (new.name, new.read_bytes())}).status_code == 200
    assert server.get("/datastore/label?label=lesion&tag=final").content == new.read_bytes()
    assert server.put("/datastore/image", files=_upload(scan)).status_code == 200
