# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Our own app: good answers, clear refusals, saved labels, the next scan to read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi.testclient import TestClient
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance, clear_cache

from monai_cuas import load_model
from monai_cuas.cli import main
from monai_cuas.label import requests as checks
from monai_cuas.label.server import app

from ..bundle.conftest import write_bright, write_untrained
from . import scans
from .conftest import BUNDLE
from .test_stock import RATE, _command_line, _mask


def bright_bundle(folder: Path) -> Path:
    """The bundle with another method, whose answer is known beforehand."""
    shutil.copytree(BUNDLE, folder)
    write_bright(folder / "models" / "model.pt")
    return folder


def serve(patch, folder: Path, studies: Path, bundle: Path | None = None, conf: dict | None = None) -> TestClient:
    arguments = ["--bundle", str(bundle)] if bundle else []
    assert main(["label-app", "--output", str(folder / "app"), *arguments]) == 0
    patch.setattr(settings, "MONAI_LABEL_APP_DIR", str(folder / "app"))
    patch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    patch.setattr(settings, "MONAI_LABEL_APP_CONF", conf or {})
    patch.setenv("TMPDIR", str(folder))
    clear_cache()
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    scans.save(folder / "lesion.nii.gz", scans.brain())
    scans.save(folder / "healthy.nii.gz", scans.brain(1, with_spot=False))
    scans.save(folder / "square.nii.gz", np.ones((20, 20, 20), np.int16))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, studies):
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch, serve(patch, folder, studies) as client:
        yield client


@pytest.fixture
def bright(tmp_path, monkeypatch):
    """A server of its own, whose mask must be the bright spot; function, as tests write into it."""
    studies = tmp_path / "studies"
    studies.mkdir()
    scans.save(studies / "lesion.nii.gz", scans.brain())
    scans.save(studies / "healthy.nii.gz", scans.brain(1, with_spot=False))
    with serve(monkeypatch, tmp_path, studies, bright_bundle(tmp_path / "bundle")) as client:
        yield client


def infer(client: TestClient, image: str = "", output: str = "image", files=None, **params):
    form = {"params": json.dumps(params)}
    return client.post(f"/infer/cuas?image={image}&output={output}", data=form, files=files)


def volume(answer, folder: Path, suffix: str = ".nii.gz") -> np.ndarray:
    assert answer.status_code == 200, answer.text
    path = folder / f"answer{suffix}"
    path.write_bytes(answer.content)
    return np.asarray(nib.load(path).dataobj) if suffix != ".nrrd" else sitk.GetArrayFromImage(sitk.ReadImage(path)).T


def refused(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    (key,) = answer.json()
    text = answer.json()[key]
    assert key == "detail"
    assert text.endswith(".")
    assert text.count("\n") == 0
    assert "Traceback" not in text
    assert "/tmp" not in text
    return text


def test_info(server):
    info = server.get("/info/").json()
    assert list(info["models"]) == ["cuas", "auto", "phantom", "flair", "t1"]
    assert info["models"]["cuas"]["labels"] == {"anomaly": 1}
    assert info["models"]["cuas"]["config"]["rate"] == 0.01
    assert info["models"]["cuas"]["dimension"] == 3
    assert "most_anomalous" in info["strategies"]
    assert "scan_score" in info["scoring"]
    assert server.get("/health").json() == {"status": "ready", "model": "loaded"}


@pytest.mark.parametrize("options", [{}, {"rate": RATE}, {"rate": RATE, "min_component_ml": 20.0}])
def test_mask_and_map_are_those_of_the_command_line(server, studies, tmp_path, options):
    expected = _command_line(studies / "lesion.nii.gz", tmp_path / "out", **options)
    np.testing.assert_array_equal(volume(infer(server, "lesion", **options), tmp_path), expected)
    anomaly = volume(infer(server, "lesion", "anomaly", **options), tmp_path)
    np.testing.assert_array_equal(anomaly, _mask(next((tmp_path / "out").glob("*_anomaly.nii.gz"))))
    assert anomaly.dtype == np.float32
    header = nib.load(tmp_path / "answer.nii.gz").affine
    np.testing.assert_allclose(header, scans.oblique_affine(), atol=1e-4)


def test_everything_in_one_answer(server, tmp_path):
    from requests_toolbelt import MultipartDecoder

    answer = infer(server, "lesion", "all", rate=RATE, anomaly_map=True, result_extension=".nrrd")
    parts = MultipartDecoder(answer.content, answer.headers["content-type"]).parts
    names = [part.headers[b"Content-Disposition"].split(b'name="')[1].split(b'"')[0].decode() for part in parts]
    assert names == ["params", "image", "anomaly"]
    params = json.loads(parts[0].text)
    assert params["label_names"] == {"anomaly": 1}
    assert params["scan_score"] > 0
    assert params["threshold_rate"] == RATE
    mask, anomaly = tmp_path / "mask.nrrd", tmp_path / "anomaly.nrrd"
    mask.write_bytes(parts[1].content)
    anomaly.write_bytes(parts[2].content)
    mask, anomaly = (sitk.ReadImage(str(path)) for path in (mask, anomaly))
    assert mask.GetPixelID() == sitk.sitkUInt8
    marked, score = sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(anomaly)
    assert 0 < marked.sum() < marked.size
    np.testing.assert_array_equal(marked > 0, score > np.float32(-np.log10(RATE)))
    millilitres = marked.sum() * np.prod(mask.GetSpacing()) / 1000
    assert params["lesion_volume_ml"] == pytest.approx(millilitres, abs=1e-3)
    assert json.loads(infer(server, "lesion", "json", rate=RATE).content)["scan_score"] == params["scan_score"]


def test_the_bright_spot_is_found_on_its_side(bright, tmp_path):
    threshold = 1.9
    for suffix in (".nii.gz", ".nrrd"):
        answer = infer(bright, "lesion", threshold=threshold, result_extension=suffix)
        found = volume(answer, tmp_path, suffix) > 0
        spot = scans.spot()
        assert 2 * (found & spot).sum() / (found.sum() + spot.sum()) > 0.8
        assert not (found & spot[::-1]).any()
    scan, mask = nib.load(tmp_path / "studies" / "lesion.nii.gz"), sitk.ReadImage(tmp_path / "answer.nrrd")
    np.testing.assert_allclose(np.array(mask.GetOrigin()) * (-1, -1, 1), scan.affine[:3, 3], atol=1e-3)


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("nobody", 404),
        ("/etc/hostname", 400),
        ("..%2Fstudies%2Flesion", 400),
        ("..", 400),
        ("lesion%00", 400),
        ("", 400),
        ("square", 422),
    ],
)
def test_images_that_are_refused(server, image, status):
    refused(infer(server, image), status)


def test_absolute_path_of_a_scan_and_hidden_ways_to_name_one(server, studies, tmp_path):
    outside = scans.save(tmp_path / "secret.nii.gz", scans.brain(2))
    refused(infer(server, str(outside)), 400)
    # the form cannot replace what was checked
    form = {"params": json.dumps({"image": str(outside), "folder": str(tmp_path), "model": "cuas"})}
    refused(server.post("/infer/cuas?image=nobody&output=image", data=form), 400)
    refused(infer(server, "nobody"), 404)
    refused(infer(server, "lesion", save_label=True, label_tag="../../x"), 400)
    refused(server.get("/datastore/image", params={"image": str(outside)}), 400)
    refused(server.get("/datastore/label", params={"label": "lesion", "tag": "../../../etc"}), 400)
    (studies / "linked.nii.gz").symlink_to(outside)
    app_instance().datastore().refresh()
    refused(infer(server, "linked"), 403)
    (studies / "linked.nii.gz").unlink()
    app_instance().datastore().refresh()


@pytest.mark.parametrize(
    "params",
    ['{"rate": 0}', '{"rate": "many"}', '{"rate": 2}', '{"threshold": -1}', '{"threshold": NaN}', "[1]", "{", '"x"']
    + ['{"min_component_ml": null}', '{"result_extension": "/../../x"}', '{"result_extension": ".exe"}'],
)
def test_params_that_are_refused(server, params):
    refused(server.post("/infer/cuas?image=lesion&output=image", data={"params": params}), 400)


def test_rate_beyond_the_calibration_and_unknown_model(server):
    assert "not supported by the calibration" in refused(infer(server, "lesion", rate=1e-9), 422)
    refused(server.post("/infer/spleen?image=lesion"), 404)
    refused(server.post("/activelearning/oldest", json={}), 404)


def _upload(path: Path, name: str | None = None):
    return {"file": (name or path.name, path.read_bytes())}


def test_uploads_that_are_refused(server, tmp_path, monkeypatch):
    good = scans.save(tmp_path / "good.nii.gz", scans.brain())
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(good.read_bytes()[:2000])
    text = tmp_path / "text.nii.gz"
    text.write_text("not a scan")
    square = scans.save(tmp_path / "square.nii.gz", np.ones((20, 20, 20), np.int16))
    for path in (cut, text, square):
        assert refused(infer(server, files=_upload(path)), 422).startswith("The uploaded scan: ")
        refused(server.put("/datastore/image?image=new", files=_upload(path)), 422)
    refused(infer(server, files=_upload(good, "good.dcm.exe")), 415)
    refused(server.put("/datastore/image?image=../x", files=_upload(good)), 400)
    refused(server.put("/datastore/?image=../x", files=_upload(good)), 400)
    refused(server.put("/datastore/image?image=lesion", files=_upload(good)), 409)
    monkeypatch.setattr(checks, "MAX_VOXELS", 1000)
    refused(infer(server, files=_upload(good)), 413)
    monkeypatch.setenv("MONAI_CUAS_MAX_UPLOAD_MB", "0.005")
    refused(infer(server, files=_upload(good)), 413)
    assert "new" not in server.get("/datastore/?output=all").json()["objects"]
    assert not list(tmp_path.parent.glob("**/x.nii.gz"))


def _detached(named: str) -> bytes:
    sizes, across = " ".join(map(str, scans.SHAPE)), "(3,0,0) (0,3,0) (0,0,3)"
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
    head += f"space directions: {across}\nencoding: raw\nspace origin: (0,0,0)\n{named}\n\n"
    return head.encode()


@pytest.mark.parametrize(
    "field", ["data file: {}", "datafile: {}", "DATA FILE: {}", "data file: LIST\n{}", "data  file: {}"]
)
@pytest.mark.parametrize("named", ["secret.raw", "pipe", "/dev/zero"])
def test_a_header_that_names_another_file_is_refused(server, tmp_path, field, named):
    (tmp_path / "secret.raw").write_bytes(bytes(int(np.prod(scans.SHAPE))))
    os.mkfifo(tmp_path / "pipe")
    content = _detached(field.format(tmp_path / named))
    for answer in (
        infer(server, files={"file": ("a.nrrd", content)}),
        server.put("/datastore/image?image=detached", files={"file": ("a.nrrd", content)}),
        server.put("/datastore/label?image=lesion", files={"label": ("a.nrrd", content)}),
    ):
        assert "names another file" in refused(answer, 422)


def test_a_header_without_end_or_of_another_format_is_refused(server):
    for content in (_detached("# no more").rstrip(), b"ObjectType = Image\nElementDataFile = /etc/passwd\n"):
        assert "no NRRD" in refused(infer(server, files={"file": ("a.nrrd", content)}), 422)


def test_a_pipe_and_a_detached_header_among_the_studies_are_refused(bright, tmp_path):
    (tmp_path / "studies" / "healthy.nii.gz").unlink()
    os.mkfifo(tmp_path / "studies" / "healthy.nii.gz")
    assert "pipe" in refused(infer(bright, "healthy"), 422)


def test_a_label_of_many_voxels_is_refused_by_its_header(server, tmp_path, monkeypatch):
    from monai_cuas.label import datastore

    def unread(_path):
        raise AssertionError("the voxels were read")

    monkeypatch.setattr(datastore, "read_label", unread)
    path = scans.save(tmp_path / "many.nii.gz", np.zeros((200, 200, 200), np.uint8))
    answer = server.put("/datastore/label?image=lesion", files={"label": (path.name, path.read_bytes())})
    assert "not on the scan's grid" in refused(answer, 422)


def test_links_lead_nowhere(bright, tmp_path):
    studies, outside = tmp_path / "studies", tmp_path / "outside.nii.gz"
    outside.write_bytes(b"of somebody else")
    empty = scans.save(tmp_path / "empty.nii.gz", np.zeros(scans.SHAPE, np.uint8))
    saved = bright.put("/datastore/label?image=lesion", files={"label": (empty.name, empty.read_bytes())})
    assert saved.status_code == 200
    for link in (studies / "labels" / "final" / "lesion.nii.gz", studies / "healthy.nii.gz"):
        link.unlink()
        link.symlink_to(outside)
    refused(bright.get("/datastore/label?label=lesion&tag=final"), 403)
    refused(bright.get("/datastore/image?image=healthy"), 403)
    archive = bright.get("/datastore/dataset")
    assert archive.status_code == 404
    assert b"somebody" not in archive.content
    assert bright.delete("/datastore/label?id=lesion&tag=final").status_code == 200
    assert bright.delete("/datastore/image?id=healthy").status_code == 200
    assert outside.read_bytes() == b"of somebody else"
    assert not (studies / "healthy.nii.gz").is_symlink()
    assert not (studies / "labels" / "final" / "lesion.nii.gz").is_symlink()


def test_body_of_unknown_length_is_cut_off(server, monkeypatch):
    monkeypatch.setenv("MONAI_CUAS_MAX_UPLOAD_MB", "0.01")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = server.post("/infer/cuas", content=(b"-" * 4096 for _ in range(10)), headers=kind)
    assert answer.status_code == 413


def test_upload_is_stored_and_read(bright, tmp_path):
    path = scans.save(tmp_path / "later.nii.gz", scans.brain(5))
    assert bright.put("/datastore/image", files=_upload(path)).json() == {"image": "later"}
    np.testing.assert_array_equal(
        volume(infer(bright, "later", threshold=1.9), tmp_path),
        volume(infer(bright, files=_upload(path), threshold=1.9), tmp_path),
    )
    assert bright.get("/datastore/image?image=later").content == path.read_bytes()


def test_routes_that_are_not_there(server):
    for method, path in (("PUT", "/model/cuas"), ("DELETE", "/model/cuas"), ("POST", "/reload"), ("GET", "/docs")):
        assert server.request(method, path).status_code in (404, 405)
    assert server.post("/infer/wsi/cuas?image=lesion", json={}).status_code in (404, 405, 422)
    archive = {"files": ("x.zip", b"PK")}
    refused(server.put("/session/?uncompress=true", files=archive), 415)


def test_info_of_images_and_labels(server):
    assert server.put("/datastore/image/info?image=lesion", data={"info": '{"read": "twice"}'}).status_code == 200
    assert server.get("/datastore/image/info?image=lesion").json()["read"] == "twice"
    for bad in ("[1]", "{", '"x"'):
        refused(server.put("/datastore/image/info?image=lesion", data={"info": bad}), 400)
        refused(server.put("/datastore/label/info?label=lesion&tag=final", data={"info": bad}), 400)
    assert server.put("/datastore/image/info?image=nobody", data={"info": "{}"}).status_code == 404
    assert server.put("/datastore/label/info?label=lesion&tag=final", data={"info": "{}"}).status_code == 404


def test_what_a_client_adds_never_makes_the_index_unreadable(bright):
    """Half of a character, once in the index, kept every later request from being answered."""
    for info in ('{"a": "\\ud800"}', '{"a": NaN}', '{"strategy": 5}', '{"monai_cuas": {"score": 1e9}}'):
        refused(bright.put("/datastore/image/info?image=lesion", data={"info": info}), 400)
    assert bright.put("/datastore/image/info?image=lesion", data={"info": '{"a": "é"}'}).status_code == 200
    told = bright.get("/datastore/image/info?image=lesion").json()
    assert told["a"] == "é"
    assert "path" not in told
    assert "path" not in bright.post("/activelearning/most_anomalous", json={}).json()


def test_checksum_of_a_scan(server, studies):
    from hashlib import md5, sha256

    content = (studies / "lesion.nii.gz").read_bytes()
    for good in (
        f"SHA256:{sha256(content).hexdigest()}",
        sha256(content).hexdigest(),
        f"MD5:{md5(content).hexdigest()}",
    ):
        assert server.head("/datastore/image", params={"image": "lesion", "check_sum": good}).status_code == 200
    for wrong, status in ((f"SHA256:{64 * '0'}", 404), ("x:y:z", 400), (":", 400), ("SHA1:" + 40 * "0", 400)):
        assert server.head("/datastore/image", params={"image": "lesion", "check_sum": wrong}).status_code == status


def test_a_file_without_a_name_takes_nothing_with_it(server, tmp_path):
    """MONAI Label took the server's whole temporary folder for the upload's own."""
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\nx\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert 400 <= server.put("/session/", content=body, headers=kind).status_code < 500
    assert Path(os.environ["TMPDIR"]).is_dir()


def test_the_archive_of_the_dataset_goes_when_it_was_sent(bright, tmp_path):
    import io
    import zipfile

    empty = scans.save(tmp_path / "empty.nii.gz", np.zeros(scans.SHAPE, np.uint8))
    bright.put("/datastore/label?image=lesion", files={"label": (empty.name, empty.read_bytes())})
    before = set(Path(os.environ["TMPDIR"]).iterdir())
    answer = bright.get("/datastore/dataset?limit_cases=5")
    assert {"image/lesion.nii.gz", "label/lesion.nii.gz"} <= set(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())
    assert set(Path(os.environ["TMPDIR"]).iterdir()) == before
    refused(bright.get("/datastore/dataset?limit_cases=0"), 422)


def test_session_of_one_scan(server, studies, tmp_path):
    with open(studies / "lesion.nii.gz", "rb") as file:
        made = server.put("/session/", files={"files": ("lesion.nii.gz", file)}).json()
    form = {"params": json.dumps({"rate": RATE})}
    answer = server.post(f"/infer/cuas?session_id={made['session_id']}&output=image", data=form)
    np.testing.assert_array_equal(volume(answer, tmp_path), volume(infer(server, "lesion", rate=RATE), tmp_path))
    refused(server.post("/infer/cuas?session_id=../..", data=form), 400)
    refused(server.post("/infer/cuas?session_id=00000000-0000-0000-0000-000000000000", data=form), 404)


def test_healthy_scan_gives_an_empty_mask_and_a_saved_label(bright, tmp_path):
    answer = infer(bright, "healthy", threshold=2.6)
    assert not volume(answer, tmp_path).any()
    assert infer(bright, "healthy", "json", threshold=2.6).json()["nothing_found"] is True
    path = tmp_path / "empty.nii.gz"
    path.write_bytes(answer.content)
    for _ in range(2):
        saved = bright.put("/datastore/label?image=healthy&tag=final", files={"label": (path.name, path.read_bytes())})
        assert saved.json() == {"image": "healthy", "label": "healthy"}
    back = bright.get("/datastore/label?label=healthy&tag=final")
    assert not volume(back, tmp_path).any()
    # saved by the server itself
    kept = infer(bright, "healthy", "json", threshold=2.6, save_label=True)
    assert kept.status_code == 200
    assert bright.get("/datastore/").json()["label_tags"] == {"final": 1, "final-1": 1, "original": 1}


def test_versions_of_a_final_label(bright, tmp_path):
    """Each is listed with who saved it, got by its tag, and changed by nobody."""
    assert bright.get("/datastore/label/versions?label=lesion").json() == []
    saved = [scans.spot(), np.zeros(scans.SHAPE), scans.spot()]
    for mask in saved:
        path = scans.save(tmp_path / "l.nii.gz", mask.astype(np.uint8))
        files = {"label": (path.name, path.read_bytes())}
        assert bright.put("/datastore/label?image=lesion", files=files).status_code == 200
    versions = bright.get("/datastore/label/versions?label=lesion").json()
    assert [version["tag"] for version in versions] == ["final", "final-2", "final-1"]
    assert all(version["user"] and version["by"] == "reader" and version["ts"] for version in versions)
    for version, mask in zip(versions, saved[::-1]):
        found = volume(bright.get(f"/datastore/label?label=lesion&tag={version['tag']}"), tmp_path)
        np.testing.assert_array_equal(found, mask)
    for tag in ("final", "final-1"):
        for words in ({"user": "x"}, {"by": "model"}, {"ts": 1}, {"origin": "manual"}):
            url = f"/datastore/label/info?label=lesion&tag={tag}"
            refused(bright.put(url, data={"info": json.dumps(words)}), 400)
        files = {"label": (path.name, path.read_bytes())}
        for words in ({"user": "x"}, {"by": "model"}):
            put = f"/datastore/label?image=lesion&tag={tag}"
            refused(bright.put(put, files=files, data={"params": json.dumps(words)}), 400)
    refused(bright.put("/datastore/label/info?label=lesion&tag=final-1", data={"info": '{"a": 1}'}), 400)
    refused(bright.put("/datastore/label?image=lesion&tag=final-1", files=files), 400)
    assert bright.get("/datastore/label/versions?label=lesion").json() == versions
    refused(bright.get("/datastore/label/versions?label=nobody"), 404)
    refused(bright.get("/datastore/label?label=lesion&tag=final-7"), 404)


def test_who_added_a_scan_stays(bright):
    before = bright.get("/datastore/image/info?image=lesion").json()
    assert bright.put("/datastore/image/info?image=lesion", data={"info": '{"a": 1}'}).status_code == 200
    after = bright.get("/datastore/image/info?image=lesion").json()
    assert after.pop("changed_by")
    assert {**before, "a": 1} == after


def test_labels_that_are_refused(server, tmp_path):
    good = np.zeros(scans.SHAPE, np.uint8)
    moved = scans.oblique_affine()
    moved[0, 3] += 5
    for name, array, affine in (
        ("moved", good, moved),
        ("small", good[:-1], None),
        ("negative", good.astype(np.int16) - 1, None),
        ("float", good.astype(np.float32) + 0.5, None),
    ):
        path = scans.save(tmp_path / f"{name}.nii.gz", array, affine)
        refused(server.put("/datastore/label?image=lesion", files={"label": (path.name, path.read_bytes())}), 422)
    refused(server.put("/datastore/label?image=nobody", files={"label": ("a.nii.gz", path.read_bytes())}), 404)
    refused(server.put("/datastore/label?image=lesion&tag=..", files={"label": ("a.nii.gz", path.read_bytes())}), 400)
    assert server.get("/datastore/").json()["label_tags"].get("final", 0) == 0


def test_full_disk_says_so(bright, tmp_path, monkeypatch):
    import errno

    from monai_cuas.label import datastore

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    label = volume(infer(bright, "lesion", threshold=1.9), tmp_path)
    path = scans.save(tmp_path / "label.nii.gz", label)
    before = bright.get("/datastore/?output=all").json()
    monkeypatch.setattr(datastore.shutil, "copyfile", full)
    answer = bright.put("/datastore/label?image=lesion", files={"label": (path.name, path.read_bytes())})
    assert "disk is full" in refused(answer, 507)
    assert bright.get("/datastore/?output=all").json() == before


def test_next_scan_is_the_most_anomalous_unread_one(bright, tmp_path):
    scans.save(tmp_path / "studies" / "square.nii.gz", np.ones((20, 20, 20), np.int16))
    app_instance().datastore().refresh()
    first = bright.post("/activelearning/most_anomalous", json={}).json()
    assert first["id"] == "lesion"
    scores = {k: infer(bright, k, "json", threshold=1.9).json()["scan_score"] for k in ("lesion", "healthy")}
    assert first["score"] == scores["lesion"] > scores["healthy"]
    label = scans.save(tmp_path / "label.nii.gz", np.zeros(scans.SHAPE, np.uint8))
    bright.put("/datastore/label?image=lesion", files={"label": (label.name, label.read_bytes())})
    assert bright.post("/activelearning/most_anomalous", json={}).json()["id"] == "healthy"
    bright.put("/datastore/label?image=healthy", files={"label": (label.name, label.read_bytes())})
    # what cannot be used is not offered
    assert bright.post("/activelearning/random", json={}).json() == {}
    scored = bright.post("/scoring/scan_score?run_sync=true", json={}).json()
    assert scored["scored"] == 2
    assert list(scored["failed"]) == ["square"]


def test_batch_goes_on_after_a_bad_scan(bright, tmp_path):
    scans.save(tmp_path / "studies" / "square.nii.gz", np.ones((20, 20, 20), np.int16))
    app_instance().datastore().refresh()
    done = bright.post("/batch/infer/cuas?run_sync=true", json={"threshold": 1.9}).json()
    assert set(done) == {"lesion", "healthy", "square"}
    assert "error" in done["square"]
    assert done["lesion"]["params"]["lesion_volume_ml"] > 1
    assert bright.get("/datastore/").json()["label_tags"] == {"original": 2}


def test_weights_that_do_not_fit_are_not_served(tmp_path, monkeypatch):
    import torch

    from monai_cuas.label.model import ServedModel
    from monai_cuas.utils import CUASError

    bundle = bright_bundle(tmp_path / "bundle")
    torch.save({"weights": torch.load(bundle / "models" / "model.pt")}, bundle / "models" / "model.pt")
    with pytest.raises(CUASError, match="carry no recipe"):
        ServedModel(bundle)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/infer/cuas?image=lesion", True),
        ("/scoring/scan_score", False),
        ("/scoring/", False),
        ("/train/cuas", False),
        ("/train/", False),
        ("/batch/infer/cuas", False),
        ("/activelearning/most_anomalous", False),
    ],
)
def test_nothing_planted_runs_through_a_parameter(bright, tmp_path, path, form):
    planted, trace = tmp_path / "planted", tmp_path / "trace"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(f"open({str(trace)!r}, 'w').close()")
    sent = {"bundle_path": str(planted)}
    if form:
        answer = bright.post(path, data={"params": json.dumps(sent)})
    else:
        answer = bright.post(path, json=sent)
    refused(answer, 400)
    assert "bundle_path" in answer.json()["detail"]
    assert not trace.exists()


def test_weights_of_any_method_are_served(tmp_path, studies, monkeypatch):
    """AMCons, by its weights file alone; its mask is the command line's."""
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    small = {"image_size": 48, "channels": [4, 8], "layers": [1, 1]}
    write_untrained(bundle / "models" / "model.pt", "amcons", **small)
    with serve(monkeypatch, tmp_path, studies, bundle) as client:
        found = volume(infer(client, "lesion", rate=0.2), tmp_path)
        assert client.get("/info/").status_code == 200
    finding = load_model(bundle / "models" / "model.pt").find(str(studies / "lesion.nii.gz"), 0.2)
    np.testing.assert_array_equal(found, finding.mask)
    assert finding.summary["method"] == "AMCons"


def test_a_models_mask_is_never_final(bright):
    refused(infer(bright, "healthy", "json", rate=0.1, save_label=True, label_tag="final"), 400)
    assert bright.get("/datastore/").json()["label_tags"].get("final", 0) == 0


def test_nothing_stays_in_the_temporary_folder(bright, tmp_path):
    import tempfile

    tempfile.tempdir = None
    assert tempfile.gettempdir() == str(tmp_path)
    for output in ("image", "json", "all", "anomaly"):
        assert infer(bright, "lesion", output, threshold=1.9).status_code == 200
    refused(infer(bright, "nobody"), 404)
    refused(infer(bright, files={"file": ("a.nii.gz", b"x")}), 422)
    assert not list(tmp_path.glob("cuas-*"))
    tempfile.tempdir = None


def test_no_name_in_the_log(bright, caplog):
    caplog.set_level(0)
    infer(bright, "lesion", threshold=1.9)
    infer(bright, "nobody")
    infer(bright, files={"file": ("DOE_JOHN.nii.gz", b"x")})
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("monailabel", "monai_cuas"))]
    assert not any(word in text for text in ours for word in ("lesion.nii", "nobody", "DOE"))


def test_the_map_in_place_of_the_mask(server, studies, tmp_path):
    """As MONAI Label's own client has it, which keeps one file of an answer."""
    whole = server.post("/infer/cuas?image=lesion", data={"params": json.dumps({"result": "anomaly"})})
    named = infer(server, "lesion", "anomaly")
    assert named.content in whole.content
    assert whole.content.count(b"filename=") == 1
    text = refused(server.post("/infer/cuas?image=lesion", data={"params": '{"result": "both"}'}), 400)
    assert "mask, anomaly" in text


def test_dicom_maps_need_a_pacs(server):
    asked = (("dicom_map", {}), ("dicom_painted", {}), ("json", {"save_map": True}), ("json", {"save_painted": True}))
    for output, params in asked:
        assert "DICOMweb" in refused(infer(server, "lesion", output, **params), 400)


def test_health_tells_of_weights_that_cannot_be_used(bright, tmp_path):
    served = app_instance().model
    before = served.weights().read_bytes()
    served.weights().write_bytes(b"no weights")
    answer = bright.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "no model"
    assert str(tmp_path) not in answer.text
    served.weights().unlink()
    assert bright.get("/health").status_code == 503
    served.weights().write_bytes(before)
    assert bright.get("/health").status_code == 200


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_a_small_file_that_claims_much_is_refused_by_its_header(server, tmp_path, name):
    """Whatever its name says of its compression: the reader goes by the content."""
    header = nib.Nifti1Header()
    header.set_data_shape((900, 900, 900))
    header["magic"], header["vox_offset"] = b"n+1", 352
    packed = gzip.compress(header.binaryblock + bytes(4 + 2**20))
    refused(server.post("/infer/cuas", files={"file": (name, packed)}), 413)
    label = server.put("/datastore/label?image=lesion", files={"label": (name, packed)})
    assert "grid" in refused(label, 422)


@pytest.mark.parametrize(("value", "status"), [(255, 200), (256, 422), (-1, 422), (0.5, 422)])
def test_a_label_keeps_its_voxels_or_is_refused(bright, tmp_path, value, status):
    """256 as a byte is 0: a lesion would become background."""
    array = np.zeros(scans.SHAPE, np.float32)
    array[20, 18, 10] = value
    path = scans.save(tmp_path / "label.nii.gz", array)
    answer = bright.put("/datastore/label?image=lesion", files={"label": (path.name, path.read_bytes())})
    assert answer.status_code == status, answer.text
