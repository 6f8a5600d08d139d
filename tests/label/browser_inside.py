# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run by .ci/browser in a network namespace of its own: Chromium, OHIF, this package's server and a real Orthanc."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from playwright.sync_api import Page, sync_playwright

from monai_cuas.label.install import write_app
from tests import dicom_files as made

from . import scans
from .dicomweb_inside import AFFINE, ORTHANC, environment, infer, nifti, post, running_orthanc, study, uid, unzipped  # noqa: F401
from .login import LoginRealm, apache
from .server_process import running
from .test_app import bright_bundle

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
# WebGL without a graphics card
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# An odd number of voxels, and no two sides alike.
CUT = np.s_[:39, :35, :19]
PICTURES = Path(os.environ["PICTURES"]) if "PICTURES" in os.environ else None

LABELMAP = """() => {
  const labels = services.segmentationService.getLabelmapVolume('1');
  const bytes = Uint8Array.from(labels.voxelManager.getCompleteScalarDataArray());
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  const images = labels.imageIds.map(id => cornerstone.metaData.get(
    'instance', cornerstone.cache.getImage(id).referencedImageId).SOPInstanceUID);
  const sum = [0, 0, 0];
  let count = 0;
  const [nx, ny] = labels.dimensions;
  bytes.forEach((byte, i) => {
    if (byte) {
      const xyz = labels.imageData.indexToWorld([i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny))]);
      for (const k of [0, 1, 2]) sum[k] += xyz[k];
      count += 1;
    }
  });
  return {bytes: btoa(text), shape: labels.dimensions, images, centre: sum.map(v => v / count)};
}"""


# the colours that OHIF holds of the map's images, and where it takes them to lie
PAINTED = """() => {
  const all = services.displaySetService.getActiveDisplaySets().find(
    set => (set.SeriesDescription || '').startsWith('Anomaly on scan'));
  const ids = all.imageIds || all.images.map(image => image.imageId);
  return ids.map(id => cornerstone.cache.getImage(id)).filter(Boolean).map(image => {
    let text = '';
    for (const byte of image.getPixelData()) text += String.fromCharCode(byte);
    return {bytes: btoa(text), rows: image.rows, columns: image.columns,
            position: cornerstone.metaData.get('imagePlaneModule', image.imageId).imagePositionPatient};
  });
}"""


def painted_frames(server, datasets) -> dict[tuple[float, ...], np.ndarray]:
    """The server's painted images (rows, columns, 3) by their positions."""
    data = {"params": json.dumps({})}
    url = f"{server.url}/infer/cuas?image={uid(datasets)}&output=dicom_painted"
    images = unzipped(requests.post(url, data=data, timeout=60).content)
    return {place: ds.pixel_array for place, ds in images.items()}


LOOK_AT = """point => services.cornerstoneViewportService.getRenderingEngine().getViewports().forEach(viewport => {
  const {viewPlaneNormal: normal, focalPoint: focus, position} = viewport.getCamera();
  const shift = point.reduce((sum, p, k) => sum + (p - focus[k]) * normal[k], 0);
  const moved = place => place.map((value, k) => value + shift * normal[k]);
  viewport.setCamera({focalPoint: moved(focus), position: moved(position)});
  viewport.render();
})"""


@pytest.fixture(scope="module")
def series(orthanc):
    """A scan with a spot and a healthy one, whose instances arrive from the other end and are numbered from there."""
    found = {}
    for name, image in (("mr", scans.brain()), ("healthy", scans.brain(1, with_spot=False))):
        datasets = made.slices(image[CUT].astype(np.int32), AFFINE)
        for number, dataset in enumerate(datasets[::-1]):
            dataset.InstanceNumber = number + 1
        post(datasets[::-1])
        found[name] = datasets
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write_app(folder / "app", bright_bundle(folder / "bundle"))
    return folder


@pytest.fixture(scope="module")
def server(folder, series):
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environment(folder, "MR")) as started:
        yield started


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    with contextlib.closing(chromium.new_page(viewport={"width": 1500, "height": 850})) as page:
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.set_default_timeout(60_000)
        yield page


def picture(page: Page, name: str) -> bytes:
    taken = page.screenshot()
    if PICTURES:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(taken)
    return taken


def red(taken: bytes, left: int = 290, right: int = 1210) -> int:
    """Number of red pixels in the viewports of a picture."""
    name = Path(os.environ.get("TMPDIR", "/tmp"), f"picture-{os.getpid()}.png")
    name.write_bytes(taken)
    r, g, b = np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(name)))[60:800, left:right, :3].astype(int), -1, 0)
    name.unlink()
    return int(((r > 120) & (g < 0.6 * r) & (b < 0.6 * r)).sum())


def open_study(page: Page, url: str, datasets) -> None:
    """The study in MONAI Label's mode, connected to the server that the panel proposes."""
    page.goto(f"{url}/ohif/monai-label?StudyInstanceUIDs={study(datasets)}")
    page.wait_for_selector("#monailabelServerURL")
    with contextlib.suppress(Exception):
        page.click("[data-cy=confirm-and-hide-button]", timeout=5000)
    page.wait_for_function(f"cornerstone.cache.getVolumes().some(v => v.imageIds.length === {len(datasets)})")
    page.click("table.settingsTable button.actionButton")
    page.wait_for_selector("button[title='Run Segmentation']")
    page.wait_for_function("services.segmentationService.getSegmentation('1')")
    time.sleep(3)  # OHIF itself waits for a second before it colours the segments


def press_run(page: Page) -> None:
    with page.expect_response(lambda answer: "/infer/" in answer.url) as answer:
        page.click("button[title='Run Segmentation']")
    assert answer.value.status == 200
    time.sleep(3)


def labelmap(page: Page, datasets) -> tuple[np.ndarray, dict]:
    """OHIF's mask, each slice put where the image is that it belongs to, and what else OHIF says of it."""
    state = page.evaluate(LABELMAP)
    drawn = np.frombuffer(base64.b64decode(state["bytes"]), np.uint8).reshape(state["shape"], order="F")
    place = {str(ds.SOPInstanceUID): z for z, ds in enumerate(datasets)}
    assert sorted(place) == sorted(state["images"])
    mask = np.empty_like(drawn)
    for z, image in enumerate(state["images"]):
        mask[:, :, place[image]] = drawn[:, :, z]
    return mask, state


def look_at(page: Page, point) -> None:
    """Let each viewport show the plane through a point, in DICOM's millimetres."""
    page.evaluate(LOOK_AT, [float(value) for value in point])
    time.sleep(2)


def answer_of(page: Page, button: str) -> str:
    page.evaluate("document.getElementById('cuas-answer').textContent = ''")
    page.click(f"#cuas-{button}")
    page.wait_for_function("document.getElementById('cuas-answer').textContent")
    return page.text_content("#cuas-answer")


def in_pacs(server, datasets, path: Path) -> np.ndarray:
    """The label as a server gives it that has just read it from Orthanc: its cache is deleted."""
    url = f"{server.url}/datastore/label?label={uid(datasets)}&tag=final"
    return np.asarray(nifti(requests.get(url, timeout=60), path).dataobj)


def test_run_button(page, server, series, tmp_path):
    """The mask in the viewer is the server's, voxel for voxel, at its place in the room, and red on the screen."""
    datasets = series["mr"]
    open_study(page, server.url, datasets)
    assert page.input_value("#monailabelServerURL") == server.url + "/"
    assert not labelmap(page, datasets)[0].any()
    assert red(picture(page, "1-before")) == 0
    press_run(page)
    mask, state = labelmap(page, datasets)
    expected = np.asarray(nifti(infer(server, uid(datasets), threshold=0), tmp_path / "mask.nii.gz").dataobj)
    assert expected.any()
    np.testing.assert_array_equal(mask, expected)
    spot = scans.spot()[CUT]
    assert 2 * (mask * spot).sum() / (mask.sum() + spot.sum()) > 0.8
    # by the room, in which neither this test nor the server has a say
    centre = AFFINE @ [*np.argwhere(expected).mean(0), 1]
    np.testing.assert_allclose(np.array(state["centre"]) * (-1, -1, 1), centre[:3], atol=0.1)
    look_at(page, state["centre"])
    assert red(picture(page, "2-found")) > 300


def test_nothing_is_asked_of_another_host(page, server, series):
    blocked = []
    page.on("requestfailed", lambda request: blocked.append((request.url, request.failure)))
    open_study(page, server.url, series["mr"])
    press_run(page)
    hosts = {urlparse(url).netloc for url in page.asked if url.startswith("http")}
    foreign = hosts - {urlparse(server.url).netloc}
    # OHIF's style sheet asks for a font; the policy of the page keeps the browser from it
    assert foreign <= {"fonts.googleapis.com"}
    assert all(failure == "csp" for url, failure in blocked if urlparse(url).netloc in foreign)


def test_a_corrected_mask_is_saved(page, server, series, tmp_path):
    datasets = series["mr"]
    open_study(page, server.url, datasets)
    press_run(page)
    before, _ = labelmap(page, datasets)
    page.click("[data-cy=reader-btn]")
    assert "Scan score" in answer_of(page, "score")
    page.click("#cuas-brush")
    page.fill("#cuas-radius", "12")
    box = page.query_selector_all("[data-cy=viewport-pane]")[0].bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 15, y + 5, steps=4)
    page.mouse.up()
    time.sleep(1)
    mask, _ = labelmap(page, datasets)
    assert mask.sum() > before.sum()
    assert "in the PACS" in answer_of(page, "save")
    picture(page, "3-saved")
    np.testing.assert_array_equal(in_pacs(server, datasets, tmp_path / "label.nii.gz"), mask)
    segmentations = requests.get(f"{ORTHANC}/dicom-web/studies/{study(datasets)}/series?Modality=SEG", timeout=30)
    assert len(segmentations.json()) == 1


def test_a_normal_scan_is_marked(page, server, series, tmp_path):
    datasets = series["healthy"]
    open_study(page, server.url, datasets)
    page.click("[data-cy=reader-btn]")
    assert "is empty" in answer_of(page, "save")
    assert "nothing abnormal" in answer_of(page, "normal")
    assert not in_pacs(server, datasets, tmp_path / "label.nii.gz").any()


def coloured(taken: bytes) -> int:
    """Number of pixels of the viewports between red and yellow."""
    name = Path(os.environ.get("TMPDIR", "/tmp"), f"picture-{os.getpid()}.png")
    name.write_bytes(taken)
    r, g, b = np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(name)))[60:800, 290:1210, :3].astype(int), -1, 0)
    name.unlink()
    return int(((r > 120) & (b < 0.6 * r) & (g <= r)).sum())


def test_the_map_is_seen(page, server, series):
    """The panel's button adds it to the study; each image that OHIF shows is the server's, where the scan's lies."""
    datasets = series["mr"]
    open_study(page, server.url, datasets)
    page.click("[data-cy=reader-btn]")
    assert "Anomaly on scan" in answer_of(page, "paint")
    address = f"{ORTHANC}/dicom-web/studies/{study(datasets)}/series?Modality=OT"
    assert len(requests.get(address, timeout=30).json()) == 1
    # without loading the page again
    page.wait_for_function(
        "services.displaySetService.getActiveDisplaySets().some(s => (s.SeriesDescription || '').startsWith('Anomaly'))"
    )
    page.locator("[data-cy^=study-browser-thumbnail]", has_text="Anomaly on scan").first.dblclick()
    time.sleep(8)
    picture(page, "5-map-opened")
    found = page.evaluate(PAINTED)
    made_by_server = painted_frames(server, datasets)
    assert len(found) == len(datasets)
    for image in found:
        position = tuple(round(float(v), 2) for v in image["position"])
        shown = np.frombuffer(base64.b64decode(image["bytes"]), np.uint8).reshape(image["rows"], image["columns"], -1)
        np.testing.assert_array_equal(shown[:, :, :3], made_by_server[position])
    assert coloured(picture(page, "5-map")) > 300


USER, ANNOTATOR = "monailabel-user", "monailabel-annotator"


@pytest.fixture(scope="module")
def door(folder, series, tmp_path_factory):
    """A server that asks for tokens, behind Apache, which gets them for people who log in."""
    if shutil.which("apache2", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs Debian's packages apache2 and libapache2-mod-auth-openidc")
    realm = LoginRealm({"reader": [USER, ANNOTATOR], "student": [USER], "visitor": []})
    login = {"MONAI_LABEL_AUTH_ENABLE": "true", "MONAI_LABEL_AUTH_REALM_URI": realm.uri}
    place = tmp_path_factory.mktemp("door")
    environ = {**environment(folder, "MR"), "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(place / "cache"), **login}
    with (
        running(place, folder / "app", f"{ORTHANC}/dicom-web", **environ) as server,
        apache(tmp_path_factory.mktemp("apache"), realm, urlparse(server.url).port) as log,
    ):
        yield server, log


@pytest.fixture
def visit(chromium):
    with contextlib.ExitStack() as stack:

        def enter(user: str, address: str) -> Page:
            context = stack.enter_context(contextlib.closing(chromium.new_context(ignore_https_errors=True)))
            page = context.new_page()
            page.set_viewport_size({"width": 1500, "height": 850})
            page.set_default_timeout(60_000)
            page.goto(f"https://127.0.0.1{address}")
            page.fill("input[name=user]", user)
            page.click("button")
            return page

        yield enter


def test_a_reader_logs_in(door, visit, series, tmp_path):
    """OHIF knows nothing of tokens: the door adds the reader's to each of its requests."""
    (server, log), datasets = door, series["mr"]
    page = visit("reader", f"/ohif/monai-label?StudyInstanceUIDs={study(datasets)}")
    page.wait_for_selector("#monailabelServerURL")
    open_study(page, "https://127.0.0.1", datasets)
    assert page.input_value("#monailabelServerURL") == "https://127.0.0.1/"
    press_run(page)
    mask, _ = labelmap(page, datasets)
    assert mask.any()
    page.click("[data-cy=reader-btn]")
    assert "in the PACS" in answer_of(page, "save")
    picture(page, "4-logged-in")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    session = cookies["mod_auth_openidc_session"]
    assert session["httpOnly"]
    assert session["secure"]
    assert session["sameSite"] in ("Lax", "Strict")
    for text in (log.read_text(), server.log.read_text()):
        assert uid(datasets) not in text
        assert "eyJ" not in text


def test_who_may_not(door, visit, series):
    """Without a login nothing is told; who may read but not save is told so; who has no role sees nothing."""
    server, _ = door
    for path in ("/info/", "/ohif/app-config.js", "/proxy/dicom/qido/studies"):
        assert requests.get(server.url + path, timeout=30).status_code == 401
        answer = requests.get(f"https://127.0.0.1{path}", verify=False, allow_redirects=False, timeout=30)
        assert answer.status_code in (302, 401)
        garbage = {"Authorization": "Bearer garbage"}
        answer = requests.get(f"https://127.0.0.1{path}", verify=False, headers=garbage, timeout=30)
        assert answer.status_code == 401
    page = visit("student", f"/ohif/monai-label?StudyInstanceUIDs={study(series['mr'])}")
    page.wait_for_selector("#monailabelServerURL")
    open_study(page, "https://127.0.0.1", series["mr"])
    page.click("[data-cy=reader-btn]")
    before = requests.get(f"{ORTHANC}/dicom-web/series?Modality=SEG", timeout=30).json()
    assert answer_of(page, "normal")
    assert page.get_attribute("#cuas-answer", "data-type") == "error"
    assert requests.get(f"{ORTHANC}/dicom-web/series?Modality=SEG", timeout=30).json() == before
    page = visit("visitor", "/ohif/")
    page.wait_for_load_state()
    assert "root" not in page.content()
    assert page.evaluate("fetch('/info/').then(answer => answer.status)") == 403
