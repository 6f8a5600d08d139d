# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import gzip
import json
import math

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.visualize.report.volumes import STEP, THRESHOLD_LEVEL, write_volumes

AFFINE = np.array([[-2.0, 0, 0, 50], [0, 2, 0, -60], [0, 0, 3, -30], [0, 0, 0, 1]])


@pytest.fixture
def scan() -> dict:
    order = np.random.default_rng(0)
    brain = np.zeros((30, 32, 20), dtype=bool)
    brain[8:22, 9:25, 6:14] = True
    anomaly = np.where(brain, order.uniform(0, 4, brain.shape), 0)
    image = order.uniform(100, 200, brain.shape)
    return {"scan": image, "anomaly": anomaly, "mask": (anomaly >= 2) & brain, "brain": brain, "affine": AFFINE}


def _read(path) -> tuple[dict, nib.Nifti1Image]:
    content = json.loads(path.read_text())
    return content, nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content["volumes"])))


def test_cropped_in_its_place_and_nothing_outside(tmp_path, scan):
    write_volumes(tmp_path / "a.json", **scan, threshold=2.0, rates=[0.1, 0.01, 0.001])
    content, image = _read(tmp_path / "a.json")
    assert content["layers"] == ["scan", "map", "mask"]
    assert image.get_data_dtype() == np.uint8
    assert np.prod(image.shape[:3]) < scan["scan"].size
    data = np.asarray(image.dataobj)
    whole = np.argwhere(scan["mask"])
    shown = np.argwhere(data[..., 2])
    to_mm = nib.affines.apply_affine
    np.testing.assert_allclose(to_mm(image.affine, shown), to_mm(AFFINE, whole), atol=1e-4)
    assert content["voxel_ml"] == pytest.approx(0.012)
    # no more than the margin of 5 mm around the brain, in whole voxels
    assert image.shape[:3] == (14 + 2 * 3, 16 + 2 * 3, 8 + 2 * 2)


def test_the_map_is_exact_at_the_threshold_and_its_bounds_are_the_rates(tmp_path, scan):
    write_volumes(tmp_path / "a.json", **scan, threshold=2.0, rates=[0.1, 0.01, 0.001])
    content, image = _read(tmp_path / "a.json")
    data = np.asarray(image.dataobj)
    np.testing.assert_array_equal(data[..., 1] >= THRESHOLD_LEVEL, data[..., 2] > 0)
    ends = [2.0 + (content[key] - THRESHOLD_LEVEL) * STEP for key in ("lowest", "highest")]
    assert ends == pytest.approx([-math.log10(0.1), -math.log10(0.001)])


def test_truth_and_left_out(tmp_path, scan):
    write_volumes(tmp_path / "a.json", **scan, threshold=2.0, truth=scan["mask"], left_out=True)
    content, image = _read(tmp_path / "a.json")
    assert content["layers"][-1] == "truth"
    assert content["left_out"]
    assert content["lowest"] < content["level"] < content["highest"]
    assert image.shape[3] == 4


def test_without_a_brain_all_is_shown(tmp_path, scan):
    empty = {**scan, "brain": np.zeros_like(scan["brain"])}
    write_volumes(tmp_path / "a.json", **empty, threshold=2.0)
    assert _read(tmp_path / "a.json")[1].shape[:3] == scan["scan"].shape
