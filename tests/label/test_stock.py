# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI Label's own monaibundle app serves the bundle as it is."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi.testclient import TestClient
from monai.bundle import ConfigWorkflow
from monailabel.config import settings
from monailabel.interfaces.utils.app import clear_cache

from . import scans
from .conftest import BUNDLE, default_network

STOCK_APP = Path(sys.prefix, "monailabel", "sample-apps", "monaibundle")
# Where the network has something to say on the made-up brain.
RATE = 0.3


def _serve(monkeypatch, folder: Path, bundle: Path, studies: Path) -> TestClient:
    from monailabel.app import app

    shutil.copytree(STOCK_APP, folder / "app")
    (folder / "app" / "model").mkdir()
    (folder / "app" / "model" / "cuas").symlink_to(bundle)
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(folder / "app"))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    conf = {"models": "cuas", "zoo_source": "local", "sam2": "false", "skip_trainers": "true"}
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_CONF", conf)
    clear_cache()
    return TestClient(app)


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    scans.save(folder / "oblique.nii.gz", scans.brain())
    sitk.WriteImage(sitk.ReadImage(str(folder / "oblique.nii.gz")), str(folder / "oblique_nrrd.nrrd"))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, studies):
    if not STOCK_APP.is_dir():
        pytest.skip(f"the stock app is not in {STOCK_APP}")
    with pytest.MonkeyPatch.context() as patch, _serve(patch, tmp_path_factory.mktemp("s"), BUNDLE, studies) as client:
        yield client


def _infer(client: TestClient, folder: Path, image: str = "oblique", suffix: str = ".nii.gz", **params) -> Path:
    form = {"params": json.dumps({"result_extension": suffix, **params})}
    answer = client.post(f"/infer/cuas?image={image}&output=image", data=form)
    assert answer.status_code == 200, answer.text
    path = folder / f"answer{suffix}"
    path.write_bytes(answer.content)
    return path


def _mask(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def _command_line(scan: Path, out: Path, **overrides) -> np.ndarray:
    ids = {"bundle_root": str(BUNDLE), "input": str(scan), "output_dir": str(out), "device": "cpu", **overrides}
    config = str(BUNDLE / "configs" / "inference.json")
    workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **ids)
    workflow.initialize()
    workflow.run()
    return _mask(next(out.glob("*_mask.nii.gz")))


def test_model_is_listed(server):
    info = server.get("/info/").json()
    model = info["models"]["cuas"]
    assert model["labels"] == {"anomaly": 1}
    assert info["labels"] == ["anomaly"]
    assert model["description"].startswith("Finds anomalies in brain scans")
    expected = {"rate": 0.01, "min_component_ml": 0.0}
    assert {name: model["config"].get(name) for name in expected} == expected


@pytest.mark.parametrize("options", [{}, {"rate": RATE}, {"rate": RATE, "min_component_ml": 20.0}])
def test_mask_is_that_of_the_command_line(server, studies, tmp_path, options):
    expected = _command_line(studies / "oblique.nii.gz", tmp_path / "out", **options)
    found = _mask(_infer(server, tmp_path, **options))
    np.testing.assert_array_equal(found, expected)
    if options:
        assert 100 < found.sum() < found.size / 4
        # a mirrored mask would have the same shape and affine
        assert not any(np.array_equal(np.flip(found, axis), expected) for axis in range(3))


def test_options_change_the_mask(server, tmp_path):
    sizes = [_mask(_infer(server, tmp_path, rate=rate)).sum() for rate in (0.02, 0.1, 0.5)]
    assert sizes[0] < sizes[1] < sizes[2]
    # and the next request has the defaults again
    np.testing.assert_array_equal(_mask(_infer(server, tmp_path)), _mask(_infer(server, tmp_path, rate=0.01)))
    assert _mask(_infer(server, tmp_path, rate=RATE, min_component_ml=1e4)).sum() == 0


def test_nifti_and_nrrd_lie_where_the_scan_lies(server, studies, tmp_path):
    scan = sitk.ReadImage(str(studies / "oblique.nii.gz"))
    masks = {}
    for suffix in (".nii.gz", ".nrrd"):
        for image in ("oblique", "oblique_nrrd"):
            mask = sitk.ReadImage(str(_infer(server, tmp_path, image, suffix, rate=RATE)))
            assert mask.GetPixelID() == sitk.sitkUInt8
            assert mask.GetSize() == scan.GetSize()
            for a, b in (("GetOrigin", 1e-4), ("GetSpacing", 1e-5), ("GetDirection", 1e-6)):
                np.testing.assert_allclose(getattr(mask, a)(), getattr(scan, a)(), atol=b)
            masks[suffix, image] = sitk.GetArrayFromImage(mask)
    first = masks.pop((".nii.gz", "oblique"))
    assert first.any()
    for other in masks.values():
        np.testing.assert_array_equal(other, first)


def test_a_mirrored_brain_has_the_mirrored_mask(server, studies, tmp_path):
    """Left and right by another way than the bundle's own: the same head, written with its columns reversed."""
    image, affine = scans.brain(), scans.oblique_affine()
    reverse = np.diag([-1.0, 1.0, 1.0, 1.0])
    reverse[0, 3] = image.shape[0] - 1
    upload = scans.save(tmp_path / "reversed.nii.gz", np.ascontiguousarray(image[::-1]), affine @ reverse)
    with open(upload, "rb") as file:
        form = {"params": json.dumps({"rate": RATE})}
        answer = server.post("/infer/cuas?output=image", data=form, files={"file": (upload.name, file)})
    assert answer.status_code == 200, answer.text
    (tmp_path / "reversed_mask.nii.gz").write_bytes(answer.content)
    found = _mask(tmp_path / "reversed_mask.nii.gz")[::-1]
    expected = _mask(_infer(server, tmp_path, rate=RATE))
    assert (found != expected).sum() <= 0.01 * expected.sum()


def test_random_weights_would_be_noticed(server, studies, tmp_path, monkeypatch):
    """The same bundle with an untrained network of the same landmarks and thresholds gives another mask."""
    bundle = tmp_path / "cuas"
    shutil.copytree(BUNDLE, bundle)
    shipped = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    torch.manual_seed(1)
    untrained = default_network().state_dict()
    kept = {n: value for n, value in shipped["model"].items() if n.startswith(("standardize.", "calibration."))}
    torch.save({**shipped, "model": {**untrained, **kept}}, bundle / "models" / "model.pt")
    expected = _mask(_infer(server, tmp_path, rate=RATE))
    with _serve(monkeypatch, tmp_path, bundle, studies) as client:
        found = _mask(_infer(client, tmp_path, rate=RATE))
    assert (found != expected).mean() > 0.01
    clear_cache()
