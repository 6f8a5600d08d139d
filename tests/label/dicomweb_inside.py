# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run by test_dicomweb.py in a network namespace of its own: a real Orthanc, and the server before it."""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests

from monai_cuas import load_model
from monai_cuas.io.dicom import find_series, make_segmentation, read_terms
from monai_cuas.label.install import write_app
from monai_cuas.label.pacs import Pacs, TimedSession, client_of, text_of
from tests import dicom_files as made
from tests.dicom_seg import by_hand

from ..bundle.conftest import write_untrained
from . import scans
from .odd_requests import failures
from .orthanc import orthanc
from .orthanc import post as stored
from .server_process import running
from .test_app import bright_bundle, refused
from .test_fuzz import USUAL, description
from .test_models import named

ORTHANC = "http://127.0.0.1:8042"
# Slices are sorted along row x column direction; a volume in that order has the same grid.
AFFINE = made.oblique_affine(spacing=(3.5, 4.0, 6.0))
SECRETS = (*made.IDENTITY, made.NAME, made.PATIENT_ID)


@pytest.fixture(scope="module", name="orthanc")
def running_orthanc(tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        assert url == ORTHANC
        yield url


def post(datasets) -> None:
    stored(ORTHANC, datasets)


@pytest.fixture(scope="module")
def series(orthanc):
    """An oblique MR with a spot, one without, an incomplete one, and a CT, in any order of slices."""
    image, healthy = scans.brain().astype(np.int32), scans.brain(1, with_spot=False).astype(np.int32)
    found = {
        "mr": made.slices(image, AFFINE),
        "healthy": made.slices(healthy, AFFINE),
        "incomplete": [ds for z, ds in enumerate(made.slices(image, AFFINE)) if z != 7],
        "ct": made.slices(image // 8, AFFINE, "CT", True, [(1.0, -1024.0)]),
    }
    for datasets in found.values():
        post(datasets[::-1])
    return found


def uid(datasets) -> str:
    return str(datasets[0].SeriesInstanceUID)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    write_app(folder / "app", bright_bundle(folder / "bundle"))
    return folder


def study(datasets) -> str:
    return str(datasets[0].StudyInstanceUID)


def environment(folder: Path, modality: str) -> dict[str, str]:
    search = json.dumps({"Modality": modality})
    cache = str(folder / f"cache-{modality}")
    return {"MONAI_LABEL_DICOMWEB_SEARCH_FILTER": search, "MONAI_LABEL_DICOMWEB_CACHE_PATH": cache}


@pytest.fixture(scope="module")
def server(folder, series):
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environment(folder, "MR")) as started:
        yield started


def infer(server, image: str, output: str = "image", **params):
    data = {"params": json.dumps({"threshold": 1.9, **params})}
    return requests.post(f"{server.url}/infer/cuas?image={image}&output={output}", data=data, timeout=60)


def nifti(answer, path: Path) -> nib.Nifti1Image:
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return nib.load(path)


def frames_of(file, datasets) -> np.ndarray:
    """(columns, rows, slices) of a segmentation, by its references and the order in which the series was made."""
    frames = by_hand(file, datasets)
    return np.stack([frames[str(ds.SOPInstanceUID), 0].T for ds in datasets], axis=-1)


def test_series_of_the_modality_are_listed(server, series):
    status = requests.get(f"{server.url}/datastore/", timeout=30).json()
    assert (status["total"], status["completed"]) == (3, 0)
    first = requests.post(f"{server.url}/activelearning/most_anomalous", json={}, timeout=60).json()
    assert first["id"] == uid(series["mr"])
    assert not any(secret in json.dumps(first) for secret in SECRETS)


@pytest.mark.parametrize("kind", ["mr", "healthy"])
def test_mask_and_segmentation_agree_to_the_voxel(server, series, tmp_path, kind):
    datasets = series[kind]
    mask = nifti(infer(server, uid(datasets)), tmp_path / "mask.nii.gz")
    assert mask.shape == scans.SHAPE
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-3)
    array = np.asarray(mask.dataobj)
    if kind == "mr":
        assert 2 * (array * scans.spot()).sum() / (array.sum() + scans.spot().sum()) > 0.8
    else:
        array_of_nothing = infer(server, uid(datasets), threshold=2.6)
        array = np.asarray(nifti(array_of_nothing, tmp_path / "mask.nii.gz").dataobj)
        assert not array.any()
    threshold = 1.9 if kind == "mr" else 2.6
    answer = infer(server, uid(datasets), "dicom_seg", threshold=threshold, label_info=[{"name": "Finding"}])
    assert answer.status_code == 200, answer.text
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    np.testing.assert_array_equal(frames_of(tmp_path / "seg.dcm", datasets), array)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.SegmentSequence[0].SegmentLabel == "Finding"
    assert seg.StudyInstanceUID == datasets[0].StudyInstanceUID


def placed(file, datasets) -> np.ndarray:
    """(columns, rows, slices) of a map, each frame at the image that it refers to and lies on."""
    ds = pydicom.dcmread(file)
    frames = np.frombuffer(ds.FloatPixelData, "<f4").reshape(-1, ds.Rows, ds.Columns)
    place = {str(source.SOPInstanceUID): z for z, source in enumerate(datasets)}
    values = np.full((*scans.SHAPE[:2], len(datasets)), np.nan, np.float32)
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence):
        z = place[str(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, datasets[z].ImagePositionPatient, atol=1e-4)
        values[:, :, z] = frame.T
    return values


def test_the_map_as_parametric_map_is_the_nifti_map(server, series, tmp_path):
    datasets = series["mr"]
    expected = np.asarray(nifti(infer(server, uid(datasets), "anomaly"), tmp_path / "map.nii.gz").dataobj)
    answer = infer(server, uid(datasets), "dicom_map")
    assert answer.status_code == 200, answer.text
    (tmp_path / "map.dcm").write_bytes(answer.content)
    np.testing.assert_array_equal(placed(tmp_path / "map.dcm", datasets), expected)
    ds = pydicom.dcmread(tmp_path / "map.dcm")
    assert ds.StudyInstanceUID == datasets[0].StudyInstanceUID
    assert ds.Modality != "MR"  # or it would be listed among the scans
    upload = {"file": ("a.nii.gz", (tmp_path / "map.nii.gz").read_bytes())}
    url = f"{server.url}/infer/cuas?image={uid(datasets)}&output=dicom_map"
    refused(requests.post(url, files=upload, timeout=60), 400)


def in_study(datasets, series_uid: str) -> list[pydicom.Dataset]:
    """The instances of a series of the study, as Orthanc holds them."""
    query = {"StudyInstanceUID": study(datasets), "SeriesInstanceUID": series_uid}
    found = requests.post(f"{ORTHANC}/tools/find", json={"Level": "Instance", "Query": query}, timeout=30).json()
    files = [requests.get(f"{ORTHANC}/instances/{instance}/file", timeout=30).content for instance in found]
    return [pydicom.dcmread(io.BytesIO(file)) for file in files]


def unzipped(content: bytes) -> dict[tuple[float, ...], pydicom.Dataset]:
    """Images of an archive by their positions."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        images = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    return {tuple(np.round(ds.ImagePositionPatient, 2)): ds for ds in images}


def removed(*uids: str) -> None:
    """Take series out of Orthanc again, so that other tests find what they expect."""
    for one in uids:
        query = {"Level": "Series", "Query": {"SeriesInstanceUID": one}}
        for found in requests.post(f"{ORTHANC}/tools/find", json=query, timeout=30).json():
            requests.delete(f"{ORTHANC}/series/{found}", timeout=30)


def test_the_map_is_stored_in_the_study(server, series, tmp_path):
    datasets = series["mr"]
    said = infer(server, uid(datasets), "json", save_map=True).json()
    (stored_map,) = in_study(datasets, said["saved_map"])
    stored_map.save_as(tmp_path / "stored.dcm")
    expected = np.asarray(nifti(infer(server, uid(datasets), "anomaly"), tmp_path / "map.nii.gz").dataobj)
    np.testing.assert_array_equal(placed(tmp_path / "stored.dcm", datasets), expected)
    # it is no scan to be read
    assert requests.get(f"{server.url}/datastore/", timeout=30).json()["total"] == 3


def test_the_map_on_the_scan_is_stored_in_the_study(server, series, tmp_path):
    """In colours, for viewers that show no parametric map: each image at the place of the scan's."""
    datasets = series["mr"]
    expected = np.asarray(nifti(infer(server, uid(datasets), "anomaly"), tmp_path / "map.nii.gz").dataobj)
    answer = infer(server, uid(datasets), "dicom_painted")
    assert answer.status_code == 200, answer.text
    given = unzipped(answer.content)
    said = infer(server, uid(datasets), "json", save_painted=True).json()
    images = in_study(datasets, said["saved_painted"])
    assert len(images) == len(given) == len(datasets)
    for ds in images:
        (z,) = [
            k for k, d in enumerate(datasets) if np.allclose(d.ImagePositionPatient, ds.ImagePositionPatient, atol=1e-3)
        ]
        np.testing.assert_array_equal(ds.pixel_array, given[tuple(np.round(ds.ImagePositionPatient, 2))].pixel_array)
        red, green, blue = np.moveaxis(ds.pixel_array.astype(int), -1, 0)
        coloured = (red != blue) | (red != green)
        # a score a little above 1 is too faint for a colour of one byte
        assert not (coloured & (expected[:, :, z].T <= 1)).any()
        assert coloured[expected[:, :, z].T > 1.05].all()
    assert requests.get(f"{server.url}/datastore/", timeout=30).json()["total"] == 3
    removed(said["saved_painted"])


def test_what_is_refused(server, series):
    assert "1 of 20 slices are missing" in refused(infer(server, uid(series["incomplete"])), 422)
    refused(infer(server, uid(series["ct"])), 404)  # not of the filter's modality
    refused(infer(server, "1.2.3.4.5"), 404)
    for bad in ("nobody", "../x", "/etc/hostname", "*", "1.2?", "1" * 70):
        refused(infer(server, bad), 400)


def test_a_series_that_claims_much_is_refused_by_its_headers(server, orthanc):
    """Few bytes of pixels, headers that claim 20 slices of 30000 x 30000: nothing of that size is made."""
    datasets = made.slices(scans.brain().astype(np.int32), AFFINE)
    for dataset in datasets:
        dataset.Rows = dataset.Columns = 30_000
    post(datasets)
    for _ in "12":
        assert "18000000000 voxels" in refused(infer(server, uid(datasets)), 413)
    assert not list(server.folder.rglob(f"dicom/{uid(datasets)}"))
    removed(uid(datasets))


def in_orthanc(modality: str) -> list[dict]:
    return requests.get(f"{ORTHANC}/dicom-web/series?Modality={modality}", timeout=30).json()


@pytest.mark.parametrize("kind", ["healthy", "mr"])
def test_saved_label_arrives_and_is_read_back(server, series, tmp_path, kind):
    datasets, before = series[kind], len(in_orthanc("SEG"))
    array = scans.spot().astype(np.uint8) if kind == "mr" else np.zeros(scans.SHAPE, np.uint8)
    path = scans.save(tmp_path / "label.nii.gz", array, AFFINE)
    files = {"label": (path.name, path.read_bytes())}
    saved = requests.put(f"{server.url}/datastore/label?image={uid(datasets)}", files=files, timeout=60)
    assert saved.status_code == 200, saved.text
    segmentations = in_orthanc("SEG")
    assert len(segmentations) == before + 1
    # what lies in Orthanc, by Orthanc's own way out
    instances = requests.get(f"{ORTHANC}/instances?expand", timeout=30).json()
    ids = {i["MainDicomTags"]["SOPInstanceUID"]: i["ID"] for i in instances}
    stored = [
        pydicom.dcmread(io.BytesIO(requests.get(f"{ORTHANC}/instances/{i}/file", timeout=30).content))
        for i in ids.values()
    ]
    mine = [
        d for d in stored if d.Modality == "SEG" and d.ReferencedSeriesSequence[0].SeriesInstanceUID == uid(datasets)
    ]
    (seg,) = mine
    seg.save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(frames_of(tmp_path / "seg.dcm", datasets), array)
    again = requests.get(f"{server.url}/datastore/label?label={uid(datasets)}&tag=final", timeout=60)
    np.testing.assert_array_equal(np.asarray(nifti(again, tmp_path / "again.nii.gz").dataobj), array)


def _stated(ds) -> tuple:
    """All that a segmentation says of the device, the algorithm and the threshold."""
    segment = ds.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    device = (ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions, ds.DeviceSerialNumber)
    how = (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName, ds.ContentDescription, ds.SeriesDescription)
    return (*device, *how, algorithm.AlgorithmVersion, algorithm.AlgorithmParameters, str(ds.ContentCreatorName or ""))


def test_the_servers_segmentation_says_what_the_command_lines_does(server, series, folder, tmp_path):
    from monai_cuas.cli import main

    datasets = series["mr"]
    made.save(datasets, tmp_path / "in")
    weights = folder / "bundle" / "models" / "model.pt"
    options = ["--rate", "0.0125", "--min_component_ml", "0.5", "--model", str(weights), "--dicom_seg"]
    assert main(["infer", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), *options]) == 0
    expected = pydicom.dcmread(next((tmp_path / "out").glob("*_seg.dcm")))
    answer = infer(server, uid(datasets), "dicom_seg", threshold=0, rate=0.0125, min_component_ml=0.5)
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    told = _stated(pydicom.dcmread(tmp_path / "seg.dcm"))
    assert told == _stated(expected)
    assert "healthy_false_positive_rate=0.0125" in str(told)
    assert sha256(weights.read_bytes()).hexdigest() in str(told)


def _saved_last(server, datasets, tmp_path, **params):
    """The segmentation that lies in Orthanc after a label was saved, and how it was drawn."""
    before = {s["0020000E"]["Value"][0] for s in in_orthanc("SEG")}
    path = scans.save(tmp_path / "label.nii.gz", scans.spot().astype(np.uint8), AFFINE)
    files, data = {"label": (path.name, path.read_bytes())}, {"params": json.dumps(params)}
    url = f"{server.url}/datastore/label?image={uid(datasets)}"
    saved = requests.put(url, files=files, data=data, timeout=60)
    if saved.status_code != 200:
        return saved
    (new,) = [s for s in in_orthanc("SEG") if s["0020000E"]["Value"][0] not in before]
    instances = requests.get(f"{ORTHANC}/instances?expand", timeout=30).json()
    series_uid = new["0020000E"]["Value"][0]
    for instance in instances:
        content = requests.get(f"{ORTHANC}/instances/{instance['ID']}/file", timeout=30).content
        ds = pydicom.dcmread(io.BytesIO(content))
        if series_uid == ds.SeriesInstanceUID:
            requests.delete(f"{ORTHANC}/instances/{instance['ID']}", timeout=30)
            return ds
    raise AssertionError(series_uid)


def test_a_label_says_whether_a_reader_drew_it_or_changed_a_mask(server, series, tmp_path):
    datasets = made.slices(scans.brain(3).astype(np.int32), AFFINE)
    post(datasets)
    try:
        ds = _saved_last(server, datasets, tmp_path)
        assert ds.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
        assert "SegmentAlgorithmName" not in ds.SegmentSequence[0]
        # figures alone are no mask that a reader could change
        assert infer(server, uid(datasets), "json").status_code == 200
        assert _saved_last(server, datasets, tmp_path).SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
        assert infer(server, uid(datasets)).status_code == 200
        ds = _saved_last(server, datasets, tmp_path)
        assert ds.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
        algorithm = ds.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
        assert "healthy_false_positive_rate=0.0125893" in algorithm.AlgorithmParameters
        ds = _saved_last(server, datasets, tmp_path, origin="manual", label_info=[{"name": "Mine"}])
        assert (ds.SegmentSequence[0].SegmentAlgorithmType, ds.SegmentSequence[0].SegmentLabel) == ("MANUAL", "Mine")
        refused(_saved_last(server, datasets, tmp_path, origin="heaven"), 400)
        refused(_saved_last(server, datasets, tmp_path, proposal={}), 400)
    finally:
        removed(uid(datasets))


def save_voxels(server, datasets, voxels: bytes, **params):
    files = {"label": ("label.bin", voxels)}
    data = {"params": json.dumps(params)}
    url = f"{server.url}/datastore/label?image={uid(datasets)}"
    return requests.put(url, files=files, data=data, timeout=60)


@pytest.mark.parametrize("turned", [False, True])
def test_bare_voxels_go_where_their_images_are(server, series, tmp_path, turned):
    """As OHIF has them; here a viewer that begins at the other end must not turn the mask upside down."""
    datasets, expected = series["mr"], scans.spot().astype(np.uint8)
    order = datasets[::-1] if turned else datasets
    drawn = expected[:, :, ::-1] if turned else expected
    images = [[str(ds.SOPInstanceUID), 1] for ds in order]
    answer = save_voxels(server, datasets, drawn.tobytes("F"), shape=list(scans.SHAPE), images=images)
    assert answer.status_code == 200, answer.text
    again = requests.get(f"{server.url}/datastore/label?label={uid(datasets)}&tag=final", timeout=60)
    label = nifti(again, tmp_path / "again.nii.gz")
    np.testing.assert_array_equal(np.asarray(label.dataobj), expected)
    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-3)


def test_versions_of_a_label_are_the_pacs(server, orthanc, folder, tmp_path):
    """A reader's older segmentations stay in the PACS, are listed and got by their tags, by a server that made none."""
    datasets = made.slices(scans.brain(5).astype(np.int32), AFFINE)
    post(datasets)
    masks = [scans.spot(), np.zeros(scans.SHAPE), scans.spot()[::-1]]
    for mask in masks:
        path = scans.save(tmp_path / "label.nii.gz", mask.astype(np.uint8), AFFINE)
        files = {"label": (path.name, path.read_bytes())}
        url = f"{server.url}/datastore/label?image={uid(datasets)}"
        assert requests.put(url, files=files, timeout=60).status_code == 200
    environ = {**environment(folder, "MR"), "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache")}
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environ) as other:
        for one in (server, other):
            asked = requests.get(f"{one.url}/datastore/label/versions?label={uid(datasets)}", timeout=60)
            versions = asked.json()
            assert [version["tag"] for version in versions] == ["final", "final-2", "final-1"]
            assert [v["saved"] for v in versions] == sorted((v["saved"] for v in versions), reverse=True)
            for version, mask in zip(versions, masks[::-1]):
                url = f"{one.url}/datastore/label?label={uid(datasets)}&tag={version['tag']}"
                for _ in "12":  # the second time from the cache
                    label = nifti(requests.get(url, timeout=60), tmp_path / "got.nii.gz")
                    np.testing.assert_array_equal(np.asarray(label.dataobj), mask)
                    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-3)
            url = f"{one.url}/datastore/label?label={uid(datasets)}&tag=final-9"
            refused(requests.get(url, timeout=60), 404)
        refused(requests.get(f"{other.url}/datastore/label/versions?label=1.2.3", timeout=60), 404)
    removed(uid(datasets), *(version["series"] for version in versions))


def test_bare_voxels_that_are_refused(server, series):
    datasets, voxels = series["mr"], scans.spot().astype(np.uint8).tobytes("F")
    good = {"shape": list(scans.SHAPE), "images": [[str(ds.SOPInstanceUID), 1] for ds in datasets]}
    before = len(in_orthanc("SEG"))
    wrong_size = [(voxels[:-1], {}), (voxels + b"0", {}), (2 * voxels, {}), (b"", {}), (voxels, {"shape": [1, 2]})]
    wrong_size += [(voxels, {"shape": None}), (voxels, {"shape": [36, 40, 20]})]
    for sent, change in wrong_size:
        assert "one byte for each" in refused(save_voxels(server, datasets, sent, **{**good, **change}), 422)
    others = [[str(ds.SOPInstanceUID), 1] for ds in series["healthy"]]
    twice = [good["images"][0], *good["images"][:-1]]
    for images in (None, [], "x", others, twice, good["images"][1:], [[1]] * 20, [["x", "y"]] * 20):
        answer = save_voxels(server, datasets, voxels, **{**good, "images": images})
        assert "which image" in refused(answer, 422)
    assert len(in_orthanc("SEG")) == before


def test_labels_of_the_pacs_are_known_to_a_server_with_an_empty_cache(server, series, folder, tmp_path):
    """After the two labels of the test before; the cache is no place where readers' work is kept."""
    environ = {**environment(folder, "MR"), "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache")}
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environ) as other:
        status = requests.get(f"{other.url}/datastore/", timeout=30).json()
        assert (status["total"], status["completed"]) == (3, 2)
        for kind, expected in (("mr", scans.spot()), ("healthy", np.zeros(scans.SHAPE))):
            url = f"{other.url}/datastore/label?label={uid(series[kind])}&tag=final"
            label = nifti(requests.get(url, timeout=60), tmp_path / f"{kind}.nii.gz")
            np.testing.assert_array_equal(np.asarray(label.dataobj), expected)
            np.testing.assert_allclose(label.affine, AFFINE, atol=1e-3)
        # all that can be used has been read
        assert requests.post(f"{other.url}/activelearning/most_anomalous", json={}, timeout=60).json() == {}


def test_ct(series, folder, tmp_path):
    datasets = series["ct"]
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environment(folder, "CT")) as server:
        assert requests.get(f"{server.url}/datastore/", timeout=30).json()["total"] == 1
        array = np.asarray(nifti(infer(server, uid(datasets)), tmp_path / "mask.nii.gz").dataobj)
        assert 2 * (array * scans.spot()).sum() / (array.sum() + scans.spot().sum()) > 0.8
        (tmp_path / "seg.dcm").write_bytes(infer(server, uid(datasets), "dicom_seg").content)
        np.testing.assert_array_equal(frames_of(tmp_path / "seg.dcm", datasets), array)


def test_what_segmentations_refer_to_is_asked_of_orthanc_once(orthanc, series, tmp_path):
    """One search for all where the PACS tells it, else one request for each; never again for the same."""
    datasets = series["healthy"]
    made.save(datasets, tmp_path / "in")
    (found,) = find_series(tmp_path / "in").series
    kept = [make_segmentation(found, np.zeros(scans.SHAPE), AFFINE, read_terms(None, None, "Anomaly")) for _ in "123"]
    post(kept)
    asked: list[str] = []

    class Counting(TimedSession):
        def request(self, method, url, *args, **kwargs):
            asked.append(url)
            return super().request(method, url, *args, **kwargs)

    pacs = Pacs(client_of(f"{ORTHANC}/dicom-web", Counting()), tmp_path / "kept.json")
    mine = {str(ds.SeriesInstanceUID) for ds in kept}
    refers = {text_of(s, "0020000E"): to for s, to in pacs.segmentations() if text_of(s, "0020000E") in mine}
    assert refers == dict.fromkeys(mine, uid(datasets))
    assert len([url for url in asked if "/instances" in url]) >= 1  # the one search for all
    asked.clear()
    pacs.forget()
    assert mine <= {text_of(s, "0020000E") for s, _ in pacs.segmentations()}
    assert not [url for url in asked if "/instances" in url or "/metadata" in url]
    removed(*mine)


def test_ohif_reaches_the_pacs_through_the_server(server, series):
    studies = requests.get(f"{server.url}/proxy/dicom/qido/studies", timeout=30)
    assert studies.status_code == 200
    assert len(studies.json()) == 4
    # MONAI Label's own drops what is asked for
    one = requests.get(f"{server.url}/proxy/dicom/qido/studies", params={"StudyInstanceUID": study(series["mr"])})
    assert [s["0020000D"]["Value"] for s in one.json()] == [[study(series["mr"])]]
    metadata = requests.get(f"{server.url}/proxy/dicom/wado/studies/{study(series['mr'])}/metadata", timeout=30)
    assert sum(m["00080060"]["Value"] == ["MR"] for m in metadata.json()) == len(series["mr"])
    # nobody writes into the PACS this way
    assert requests.post(f"{server.url}/proxy/dicom/wado/studies", data=b"x", timeout=30).status_code == 405
    assert requests.get(f"{server.url}/proxy/dicom/wado/instances", timeout=30).status_code == 404
    for path in ("/proxy/dicom/../system", "/proxy/dicom/%2e%2e/system", "/proxy/dicom/wado/..%2f..%2fsystem"):
        request = requests.Request("GET", server.url).prepare()
        request.url = server.url + path
        assert requests.Session().send(request, timeout=30).status_code in (400, 404)


@pytest.fixture(scope="module")
def several(orthanc, tmp_path_factory):
    """A server with a model of FLAIR and T1, and a study that has both; its series are taken out again."""
    folder = tmp_path_factory.mktemp("several")
    bundle = bright_bundle(folder / "bundle")
    small = {"image_size": 48, "channels": [4, 8], "layers": [1, 1], "in_channels": 2}
    both = named(write_untrained(bundle / "models" / "model_both.pt", "amcons", **small), "FLAIR", "T1")
    write_app(folder / "app", bundle)
    found, one_study = {}, pydicom.uid.generate_uid()
    for seed, (name, described) in enumerate({"flair": "AX FLAIR", "t1": "SAG T1 MPRAGE"}.items()):
        found[name] = made.slices(scans.brain(seed).astype(np.int32), AFFINE, study_uid=one_study)
        for dataset in found[name]:
            dataset.SeriesDescription = described
        post(found[name])
    with running(folder, folder / "app", f"{ORTHANC}/dicom-web", **environment(folder, "MR")) as server:
        yield server, both, found
    removed(*map(uid, found.values()))


@pytest.mark.parametrize("way", ["in order", "turned", "study", "one of it"])
def test_several_sequences_of_a_study(several, tmp_path, way):
    """By ids in any order, by the study, or by the first of them: the mask is the command line's of both."""
    server, both, found = several
    flair, t1 = uid(found["flair"]), uid(found["t1"])
    asked = {
        "in order": f"images={flair}&images={t1}",
        "turned": f"images={t1}&images={flair}",
        "study": f"study={study(found['flair'])}",
        "one of it": f"image={flair}",
    }[way]
    form = {"params": json.dumps({"rate": 0.3})}
    url = f"{server.url}/infer/both?{asked}&output="
    said = requests.post(f"{url}json", data=form, timeout=120)
    assert said.status_code == 200, said.text
    assert said.json()["images"] == [flair, t1]
    files = []
    for name in ("flair", "t1"):
        answer = requests.get(f"{server.url}/datastore/image?image={uid(found[name])}", timeout=60)
        nifti(answer, tmp_path / f"{name}.nii.gz")
        files.append(str(tmp_path / f"{name}.nii.gz"))
    mask = nifti(requests.post(f"{url}image", data=form, timeout=120), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), load_model(both).find(files, 0.3).mask)
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-3)
    offered = requests.get(f"{server.url}/models/?study={study(found['flair'])}", timeout=60).json()["offered"]
    assert {"model": "both", "images": [flair, t1], "notes": []} in offered


def test_several_sequences_that_do_not_fit(several):
    server, _, found = several
    flair, t1 = uid(found["flair"]), uid(found["t1"])
    form = {"params": json.dumps({"rate": 0.3})}

    def ask(query: str):
        return requests.post(f"{server.url}/infer/both?{query}&output=json", data=form, timeout=120)

    assert f"ask for {flair}" in refused(ask(f"image={t1}"), 422)
    refused(ask(f"images={flair}&images={flair}"), 400)
    refused(ask(f"image={flair}&study={study(found['flair'])}"), 400)
    refused(ask("study=1.2.3.4"), 404)
    refused(ask("study=sub-1"), 400)


def test_no_odd_address_fails_the_server(server, series):
    image = uid(series["mr"])
    usual = {**USUAL, "image": image, "label": image, "kind": "qido", "path": "studies", "id": "1.2.3"}
    count, wrong = failures(server.url, description(), usual, str(server.folder), bodies=False)
    assert count > 500
    assert wrong == []
    assert infer(server, image).status_code == 200


def test_no_identity_in_logs_or_cache_names(server, folder):
    logs = [path.read_text() for path in [*folder.glob("*.log"), *(folder / "app" / "logs").glob("*")]]
    assert logs
    assert not any(secret in text for secret in SECRETS for text in logs)
    cache = folder / "cache-MR"
    for path in cache.rglob("*"):
        assert not any(secret in str(path) for secret in SECRETS)
        if path.suffix == ".json":
            assert not any(secret in path.read_text() for secret in SECRETS)
    (root,) = cache.iterdir()
    assert root.stat().st_mode & 0o077 == 0


def test_a_pacs_that_is_gone_is_said(folder, tmp_path):
    environ = {**environment(folder, "MR"), "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache")}
    with running(folder, folder / "app", "http://127.0.0.1:9/dicom-web", **environ) as server:
        assert "does not answer" in refused(infer(server, "1.2.3"), 502)
