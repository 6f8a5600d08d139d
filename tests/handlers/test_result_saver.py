# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import os
from multiprocessing import get_context

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_cuas.calibration.scores import keep_scan_scores
from monai_cuas.handlers.result_saver import AnomalyResultSaver, update_csv
from monai_cuas.networks.layers import ScoreCalibration
from monai_cuas.utils import CUASError

SHAPE = (20, 24, 8)


def _oblique() -> np.ndarray:
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-2.0, 1.5, 4.0])  # left-handed, anisotropic
    affine[:3, 3] = (10, -20, 5)
    return affine


def _scan(folder, name="scan", lesion=True, stated_name=None):
    affine = _oblique()
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[3:17, 3:21, 1:7] = 1
    image = brain * np.random.default_rng(0).uniform(50, 100, SHAPE).astype(np.float32)
    file = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(image, affine), file)
    anomaly = np.full(SHAPE, 0.5, dtype=np.float32) * brain
    if lesion:
        anomaly[5:8, 5:9, 2:4] = 3.5  # 24 voxels
        anomaly[12, 12, 5] = 2.5  # 1 voxel
    meta = {"filename_or_obj": str(file), "affine": torch.as_tensor(affine)}
    item = {
        "image": MetaTensor(torch.zeros(1, 8, 8, 8), meta=meta),
        "brain_mask": MetaTensor(torch.as_tensor(brain)[None], affine=torch.as_tensor(affine)),
    }
    if stated_name is not None:
        item["name"] = stated_name
    return item, {"anomaly": torch.as_tensor(anomaly)[None], "pred": torch.as_tensor(anomaly >= 2)[None]}


def _run(saver, scans):
    def step(engine, index):
        item, made = scans[index]
        engine.state.batch = [item]
        return [made]

    engine = Engine(step)
    saver.attach(engine)
    engine.run(list(range(len(scans))), max_epochs=1)


def _rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_files_lie_on_the_grid_of_the_scan(tmp_path):
    out = tmp_path / "out"
    _run(AnomalyResultSaver(out, options={"median_filter": 0}), [_scan(tmp_path)])
    source = nib.load(tmp_path / "scan.nii.gz")
    for suffix, dtype in (("anomaly", np.float32), ("mask", np.uint8)):
        image = nib.load(out / f"scan_{suffix}.nii.gz")
        assert image.shape == SHAPE
        assert image.get_data_dtype() == dtype
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), source.affine, atol=1e-4)
        np.testing.assert_allclose(image.get_sform(), source.affine, atol=1e-5)
    mask = np.asarray(nib.load(out / "scan_mask.nii.gz").dataobj)
    assert mask.sum() == 25
    assert mask[6, 6, 3] == 1
    assert (out / "scan_overlay.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob(".tmp*"))
    row = _rows(out)["scan"]
    assert float(row["lesion_volume_ml"]) == pytest.approx(25 * 12 / 1000)
    assert row["components"] == "2"
    assert row["size"] == "20x24x8"
    assert row["spacing_mm"] == "2x1.5x4"
    assert float(row["threshold_score"]) == 2.0
    assert row["median_filter"] == "0"
    # 0.1% of 1512 brain voxels: 2 voxels
    assert float(row["scan_score"]) == pytest.approx(3.5)


def test_rerun_replaces_the_row_and_keeps_others(tmp_path):
    out = tmp_path / "out"
    saver = AnomalyResultSaver(out, overlay=False)
    _run(saver, [_scan(tmp_path, "a"), _scan(tmp_path, "b")])
    _run(AnomalyResultSaver(out, overlay=False), [_scan(tmp_path, "b", lesion=False), _scan(tmp_path, "c")])
    rows = _rows(out)
    assert list(rows) == ["a", "b", "c"]
    assert [rows[n]["components"] for n in "abc"] == ["2", "0", "2"]


def test_stated_name_wins_and_equal_names_do_not_overwrite(tmp_path):
    out = tmp_path / "out"
    scans = [_scan(tmp_path, "a", stated_name="x"), _scan(tmp_path, "b", stated_name="x", lesion=False)]
    _run(AnomalyResultSaver(out, overlay=False), scans)
    assert {n: r["components"] for n, r in _rows(out).items()} == {"x": "2", "x_2": "0"}


def test_healthy_scan_is_drawn_and_saved(tmp_path):
    item, made = _scan(tmp_path, lesion=False)
    out = tmp_path / "out"
    _run(AnomalyResultSaver(out), [(item, made)])
    assert np.isfinite(nib.load(out / "scan_anomaly.nii.gz").get_fdata()).all()
    assert float(_rows(out)["scan"]["lesion_volume_ml"]) == 0
    assert (out / "scan_overlay.png").exists()


def test_unwritable_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    worked = []

    def step(engine, index):
        worked.append(index)

    engine = Engine(step)
    AnomalyResultSaver(tmp_path / "file" / "out").attach(engine)
    with pytest.raises(CUASError, match="--output_dir") as caught:
        engine.run([0], max_epochs=1)
    assert not worked
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, 1, -0.1])
def test_rate_out_of_range(tmp_path, rate):
    with pytest.raises(ValueError, match="rate"):
        AnomalyResultSaver(tmp_path, rate=rate)


def test_p_value_and_a_raised_threshold(tmp_path):
    scale = ScoreCalibration((0.1, 0.01))
    scale.set_(torch.tensor([1.0, 2.0]))
    keep_scan_scores(scale, [1.0, 3.6, 3.4])
    item, made = _scan(tmp_path)
    out = tmp_path / "out"
    _run(AnomalyResultSaver(out, overlay=False), [_scan(tmp_path, "plain")])
    _run(AnomalyResultSaver(out, overlay=False, scale=scale), [(item, {**made, "pred_threshold": 2.25})])
    rows = _rows(out)
    assert (rows["plain"]["scan_p_value"], rows["plain"]["threshold_raised_to"]) == ("", "")
    # the highest 0.1% are at 3.5: one of three calibration scans is as high
    assert (rows["scan"]["scan_p_value"], rows["scan"]["threshold_raised_to"]) == ("0.5", "2.25")


def _fill(path: str, prefix: str) -> None:
    for k in range(25):
        update_csv(path, {"name": f"{prefix}{k}", "value": k})


def test_processes_in_one_folder_lose_no_row(tmp_path):
    path = tmp_path / "results.csv"
    processes = [get_context("spawn").Process(target=_fill, args=(str(path), prefix)) for prefix in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with open(path, newline="") as file:
        assert sorted(row["name"] for row in csv.DictReader(file)) == sorted(f"{p}{k}" for p in "ab" for k in range(25))


def test_a_scan_that_cannot_be_saved_does_not_end_the_run(tmp_path):
    out, failed = tmp_path / "out", []
    long_name, nan = _scan(tmp_path, "b", stated_name="x" * 300), _scan(tmp_path, "c")
    nan[1]["anomaly"][0, 5, 5, 3] = float("nan")
    latin = _scan(tmp_path, "d", stated_name="m\udcfcller")
    saver = AnomalyResultSaver(out, failed=failed)
    _run(saver, [_scan(tmp_path, "a"), long_name, nan, latin, _scan(tmp_path, "e")])
    assert {"a", "e"} <= set(_rows(out))
    assert [os.path.basename(file) for file, _ in failed][:2] == ["b.nii.gz", "c.nii.gz"]
    assert "too long" in failed[0][1]
    assert "not numbers" in failed[1][1]
    assert "m\\xfcller" in _rows(out)
    assert not list(out.glob(".tmp*"))


def test_the_report_keeps_failures_of_earlier_runs_until_the_scan_succeeds(tmp_path):
    out, good = tmp_path / "out", _scan(tmp_path, "good")
    bad = str(tmp_path / "late.nii.gz")
    _run(AnomalyResultSaver(out, failed=[(bad, "it is torn")]), [good])
    _run(AnomalyResultSaver(out), [good])
    page = (out / "report.html").read_text()
    assert "1 scans, 1 with something found, 1 failed." in page
    assert "<b>late.nii.gz</b>: it is torn" in page
    _run(AnomalyResultSaver(out), [_scan(tmp_path, "late")])
    page = (out / "report.html").read_text()
    assert "2 scans, 2 with something found, 0 failed." in page
    assert "it is torn" not in page
