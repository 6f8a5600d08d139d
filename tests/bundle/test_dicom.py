# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A folder as an archive exports it goes in; maps, masks, tables and DICOM segmentations come out."""

from __future__ import annotations

import csv
import gzip

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.networks.layers import DEFAULT_LEVELS
from tests import dicom_files as made
from tests.dicom_seg import by_hand

from .conftest import BUNDLE, CONFIGS, ROOT, run_module, write_bright

SHAPE = (40, 32, 20)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine(spacing=(3.5, 4.0, 5.0))
SPOT = np.equal(IMAGE, IMAGE.max())
RATE = 10**-2.85
SECRETS = (*made.IDENTITY, "DOE_JOHN", "ZYXID-OTHER")


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    landmarks = (10 * torch.tensor(DEFAULT_LEVELS)).square()
    return write_bright(tmp_path_factory.mktemp("bright") / "model.pt", landmarks, lowest=-1.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients: MR, CT and enhanced MR to be used, an incomplete MR, and what is passed over."""
    root = tmp_path_factory.mktemp("archive")
    mr, incomplete = made.slices(IMAGE, AFFINE), made.slices(IMAGE, AFFINE)
    ct = made.slices(IMAGE // 8, AFFINE, "CT", True, [(1.0, -1024.0)], patient="ZYXID-OTHER")
    enhanced = made.enhanced(IMAGE, AFFINE, np.random.default_rng(2).permutation(SHAPE[2]))
    made.save([*mr, made.again(mr[4]), *made.localiser()], root / "DOE_JOHN" / "1", "")
    made.save([*ct, made.report()], root / "DOE_JOHN" / "2", "")
    made.save(enhanced, root / "other")
    made.save([ds for z, ds in enumerate(incomplete) if z != 7], root / "incomplete")
    used = {"mr": mr, "ct": ct, "enhanced": [enhanced]}
    return root, used, incomplete[0].SeriesInstanceUID


@pytest.fixture(scope="module")
def result(archive, bright, tmp_path_factory):
    """The README's command, once."""
    out = tmp_path_factory.mktemp("result") / "out"
    files = "['bundles/cuas/configs/inference.json','bundles/cuas/configs/dicom_seg.json']"
    done = run_module(
        *("--config_file", files, "--input", archive[0], "--output_dir", out, "--ckpt_path", bright),
        *("--rate", str(RATE)),
        cwd=ROOT,
    )
    return done, out


def _rows(out):
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_the_good_series_are_done_and_the_incomplete_one_is_named(archive, result):
    done, out = result
    assert done.returncode == 1, done.stderr[-3000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("monai_cuas: error: 1 of 4 scans failed: ")
    assert f"::{archive[2]}: 1 of 20 slices are missing, the first after slice 7" in last
    assert set(_rows(out)) == {datasets[0].SeriesInstanceUID for datasets in archive[1].values()}
    assert "left out, a localiser" in done.stdout + done.stderr
    assert "1 duplicate" in _rows(out)[archive[1]["mr"][0].SeriesInstanceUID]["notes"]


@pytest.mark.parametrize("kind", ["mr", "ct", "enhanced"])
def test_map_mask_and_segmentation_are_at_the_place_of_the_spot(archive, result, kind):
    datasets, out = archive[1][kind], result[1]
    uid = datasets[0].SeriesInstanceUID
    mask, anomaly = (nib.load(out / f"{uid}_{what}.nii.gz") for what in ("mask", "anomaly"))
    assert mask.shape == anomaly.shape == SHAPE
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)
    np.testing.assert_allclose(anomaly.affine, AFFINE, atol=1e-4)
    marked = np.asarray(mask.dataobj) > 0
    assert 2 * (marked & SPOT).sum() / (marked.sum() + SPOT.sum()) > 0.7
    frames = by_hand(out / f"{uid}_seg.dcm", datasets)
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    found = 0
    for (image, number), frame in frames.items():
        source = next(ds for ds in datasets if ds.SOPInstanceUID == image)
        if kind == "enhanced":
            source = source.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0]
        # the slice of the NIfTI mask whose first voxel lies where the header puts that of the image
        corners = (lps @ np.stack([[0, 0, k, 1] for k in range(SHAPE[2])]).T).T[:, :3]
        (z,) = np.flatnonzero(np.abs(corners - source.ImagePositionPatient).max(axis=1) < 1e-3)
        np.testing.assert_array_equal(frame, marked[:, :, z].T)
        found += int(frame.sum())
    assert found == marked.sum() > 0


def test_no_identity_in_any_output(result):
    done, out = result
    log = done.stdout + done.stderr
    assert not any(secret in log for secret in SECRETS)
    files = [file for file in out.rglob("*") if file.is_file() and file.suffix != ".lock"]
    # the viewer's volumes are JSON, where a viewer is installed
    assert {file.suffix for file in files} - {".json"} == {".gz", ".png", ".csv", ".dcm", ".html"}
    for file in files:
        assert not any(secret in str(file) for secret in SECRETS)
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        # only the segmentation belongs to the patient, as the archive must know it
        if file.suffix == ".dcm":
            assert made.NAME.encode() in content
        else:
            assert not any(secret.encode() in content for secret in SECRETS)


def _infer(files, out, weights, **overrides):
    ids = {"bundle_root": str(BUNDLE), "output_dir": str(out), "ckpt_path": str(weights), "device": "cpu", **overrides}
    paths = [str(CONFIGS / file) for file in files]
    workflow = ConfigWorkflow(paths, workflow_type="infer", logging_file=False, **ids)
    workflow.initialize()
    workflow.run()


def test_a_healthy_scan_has_a_segmentation_of_nothing(archive, bright, tmp_path):
    root, used, _ = archive
    uids = {kind: used[kind][0].SeriesInstanceUID for kind in ("mr", "ct")}
    scans = [f"{root}::{uid}" for uid in uids.values()]
    _infer(["inference.json", "dicom_seg.json"], tmp_path, bright, input=scans, rate=0.001)
    rows = _rows(tmp_path)
    for kind, uid in uids.items():
        assert rows[uid]["lesion_volume_ml"] == "0.0"
        assert rows[uid]["dicom_seg_content"] == "nothing above the threshold: all 20 frames are empty"
        frames = by_hand(tmp_path / rows[uid]["dicom_seg"], used[kind])
        assert len(frames) == 20
        assert not np.any(list(frames.values()))


def test_choice_and_acceptance_are_ids_of_the_config(archive, weights, tmp_path):
    where = {"Modality": "mr", "SOPClassUID": made.MR}
    accepted = {"dicom_min_slices": 19, "dicom_accept": ["missing_slices"]}
    _infer(["inference.json"], tmp_path, weights, input=str(archive[0]), dicom_where=where, **accepted)
    rows = _rows(tmp_path)
    assert set(rows) == {archive[1]["mr"][0].SeriesInstanceUID, archive[2]}
    assert "1 of 20 slices are missing" in rows[archive[2]]["notes"]
    mask = nib.load(tmp_path / f"{archive[2]}_mask.nii.gz")
    assert mask.shape == SHAPE
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)
