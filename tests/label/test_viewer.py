# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""OHIF's files as they are served; .ci/browser presses its buttons."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas.label import viewer

from . import scans
from .test_app import infer, refused, serve, volume


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer")
    (folder / "studies").mkdir()
    scans.save(folder / "studies" / "lesion.nii.gz", scans.brain())
    with pytest.MonkeyPatch.context() as patch, serve(patch, folder, folder / "studies") as client:
        yield client


def test_the_page_asks_no_other_host(server):
    for path in ("/ohif/", "/ohif/monai-label?StudyInstanceUIDs=1.2.3", "/ohif/index.html"):
        answer = server.get(path)
        assert answer.status_code == 200
        assert not re.search(r'(src|href)="(https?:)?//', answer.text)
        assert 'src="/ohif/app.bundle' in answer.text
        policy = answer.headers["content-security-policy"]
        assert "http" not in policy
        assert "default-src 'self'" in policy


def test_its_files_are_there_and_the_settings_are_ours(server):
    page = server.get("/ohif/").text
    for path in re.findall(r'(?:src|href)="(/ohif/[^"]+\.(?:js|css|ico))"', page):
        kind = server.get(path).headers["content-type"]
        assert "html" not in kind, path
    settings = server.get("/ohif/app-config.js")
    assert settings.headers["content-type"].startswith("text/javascript")
    assert "id: 'monai_cuas'" in settings.text
    # files in folders are OHIF's page in MONAI Label's own route
    assert server.get("/ohif/assets/favicon.ico").headers["content-type"].startswith("image/")


@pytest.mark.parametrize("path", ["..%2f..%2f..%2fapp.py", "%2fetc%2fhostname", "....//app.py", "assets"])
def test_nothing_else_is_served(server, path):
    answer = server.get(f"/ohif/{path}")
    assert answer.status_code in (400, 404) or answer.text == viewer._page()


def test_settings_are_a_program(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    done = subprocess.run(["node", "--check", str(viewer._CONFIG)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_dicomweb_it_says_so(server):
    assert "DICOMweb" in refused(server.get("/proxy/dicom/qido/studies"), 404)
    files = {"label": ("label.bin", b"0" * 10)}
    assert "DICOM series" in refused(server.put("/datastore/label?image=lesion", files=files), 415)


def test_nrrd_as_ohif_asks_for_it(server, tmp_path):
    """Not compressed: OHIF reads a compressed one as numbers of two bytes and fails if they are odd in number."""
    asked = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    answer = infer(server, "lesion", rate=0.3, **asked)
    header, _, voxels = answer.content.partition(b"\n\n")
    assert b"encoding: raw" in header
    assert len(voxels) == scans.SHAPE[0] * scans.SHAPE[1] * scans.SHAPE[2]
    assert (volume(answer, tmp_path, ".nrrd").tobytes("F")) == voxels
    assert b"encoding: gzip" in infer(server, "lesion", rate=0.3, result_extension=".nrrd").content[:500]
