# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

pytest.importorskip("nilearn")

from monai_cuas.cli import main
from monai_cuas.data.phantom import (
    LESION_KINDS,
    make_phantom_cohort,
    make_phantom_subject,
    simulate_lesion,
    split_counts,
)
from monai_cuas.transforms.lesion import SimulateLesion, SimulateLesiond

SMALL = {"normals": 4, "lesions": 2, "spacing": 4.0, "progress": False}


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    return root, json.loads(Path(make_phantom_cohort(root, **SMALL)).read_text())


def test_same_seed_same_bytes_other_seed_other_scan(cohort, tmp_path):
    root, _ = cohort
    make_phantom_cohort(tmp_path / "again", **SMALL)
    assert _bytes(root) == _bytes(tmp_path / "again")
    assert not np.array_equal(
        make_phantom_subject(0, spacing=4.0).image, make_phantom_subject(0, seed=1, spacing=4.0).image
    )


def test_subject_does_not_depend_on_cohort_size(cohort, tmp_path):
    root, _ = cohort
    make_phantom_cohort(tmp_path, **{**SMALL, "normals": 5, "lesions": 1})
    for name in ("sub-N0004/anat/sub-N0004_FLAIR.nii.gz", "sub-L0001/anat/sub-L0001_FLAIR.nii.gz"):
        assert (root / name).read_bytes() == (tmp_path / name).read_bytes()


def test_complete_cohort_is_left_alone_and_damaged_one_is_made_again(tmp_path):
    path = Path(make_phantom_cohort(tmp_path, **SMALL))
    before, scan = path.stat().st_mtime_ns, tmp_path / "sub-N0001/anat/sub-N0001_FLAIR.nii.gz"
    make_phantom_cohort(tmp_path, **SMALL)
    assert path.stat().st_mtime_ns == before
    whole = scan.read_bytes()
    scan.unlink()
    make_phantom_cohort(tmp_path, **SMALL)
    assert scan.read_bytes() == whole
    assert not list(tmp_path.rglob(".tmp-*"))


def test_labels_lie_in_the_brain_and_match_the_record(cohort):
    root, dataset = cohort
    for entry in dataset["test_lesion"]:
        image, label = nib.load(root / entry["image"]), nib.load(root / entry["label"])
        assert np.allclose(image.affine, label.affine)
        voxels, mask = np.asarray(image.dataobj), np.asarray(label.dataobj) > 0
        assert voxels.min() == 0
        assert voxels[mask].min() > 0
        assert entry["volume_ml"] == pytest.approx(mask.sum() * 0.064, abs=1e-3)
        parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
        largest = np.bincount(parts.ravel())[1:].max() * 64.0
        assert entry["n_lesions"] == count
        assert entry["size_mm"] == pytest.approx((6 * largest / np.pi) ** (1 / 3), abs=0.01)


def test_splits_are_disjoint(cohort):
    _, dataset = cohort
    names = ["training", "calibration", "validation", "test_normal", "test_lesion"]
    subjects = [e["subject"] for name in names for e in dataset[name]]
    assert len(subjects) == len(set(subjects)) == 6
    assert all("label" not in e for name in names[:-1] for e in dataset[name])


@pytest.mark.parametrize(("normals", "expected"), [(4, (1, 1, 1, 1)), (6, (1, 3, 1, 1)), (60, (33, 12, 6, 9))])
def test_split_counts(normals, expected):
    assert tuple(split_counts(normals).values()) == expected


@pytest.mark.parametrize("kind", LESION_KINDS)
@pytest.mark.parametrize("modality", ["flair", "t1", "t2", "ct"])
def test_obvious_lesion_differs_from_the_tissue(kind, modality):
    # A flat brain of tissue 100 with a dark and a bright slab, so that the normal range is 50..150.
    image = np.zeros((40, 40, 40), np.float32)
    image[4:36, 4:36, 4:36] = 100.0
    image[4:36, 4:36, 4:6], image[4:36, 4:36, 34:36] = 50.0, 150.0
    after, fraction, record = simulate_lesion(
        image, image > 0, (2.0, 2.0, 2.0), kind, np.random.default_rng(3), modality, size_mm=16.0, contrast=1.0
    )
    mask = fraction > 0.5
    assert mask.any()
    assert record["kind"] == kind
    assert np.abs(after - image)[mask].mean() > 10.0
    assert np.array_equal(after[image == 0], image[image == 0])
    assert not mask[image == 0].any()


@pytest.mark.parametrize("contrast", ["flair", "t1", "t2", "ct"])
def test_background_is_zero_and_brain_is_one_piece(contrast):
    image = make_phantom_subject(1, contrast=contrast, spacing=4.0).image
    assert image.dtype == np.int16
    assert image.min() == 0
    assert ndimage.label(image > 0)[1] == 1
    # An adult brain has about 1 to 2 litres.
    assert 1.0 < (image > 0).sum() * 64e-6 < 2.2


def test_thick_slices_and_oblique_axes():
    subject = make_phantom_subject(0, "tumour", spacing=4.0, thick_slices=True, oblique=True)
    steps = np.linalg.norm(subject.affine[:3, :3], axis=0)
    assert steps[:2] == pytest.approx([4.0, 4.0])
    assert steps[2] in (pytest.approx(8.0), pytest.approx(12.0))
    assert np.abs(subject.affine[:3, :3] / steps - np.eye(3)).max() > 0.02
    assert subject.label.shape == subject.image.shape
    assert (subject.image[subject.label > 0] > 0).all()


def test_transforms_are_seeded_and_keep_the_scan_without_a_lesion():
    image = torch.zeros(1, 24, 24, 24)
    image[:, 3:21, 3:21, 3:21] = 100.0 + torch.arange(18.0)
    first, label, record = SimulateLesion("tumour", size_mm=8.0).set_random_state(1)(image)
    out = SimulateLesiond("image", kinds=["tumour"], size_mm=8.0).set_random_state(1)({"image": image})
    assert torch.equal(first, out["image"])
    assert torch.equal(label, out["label"])
    assert record["n_lesions"] >= 1
    same, none, empty = SimulateLesion(prob=0.0)(image)
    assert torch.equal(same, image)
    assert none.sum() == 0
    assert empty == {}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--contrast", "pet"], "contrast"),
        (["--normals", "2"], "normals"),
        (["--lesions", "-1"], "lesioned"),
        (["--spacing", "50"], "spacing"),
        (["--seed", "-1"], "seed"),
        (["--lesion_kinds", "wart"], "wart"),
    ],
)
def test_bad_arguments_give_one_sentence(arguments, word, tmp_path, capsys):
    assert main(["phantom", "--output_dir", str(tmp_path), *arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert word in message
    assert "\n" not in message


def test_foreign_dataset_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "dataset.json").write_text('{"training": []}')
    assert main(["phantom", "--output_dir", str(tmp_path), "--normals", "4", "--lesions", "0"]) == 2
    assert (tmp_path / "dataset.json").read_text() == '{"training": []}'
    assert "another output folder" in capsys.readouterr().err


def test_command_line_makes_a_cohort(tmp_path):
    arguments = ["--normals", "4", "--lesions", "1", "--spacing", "5", "--lesion_kinds", "stroke", "--contrast", "ct"]
    assert main(["phantom", "--output_dir", str(tmp_path), *arguments]) == 0
    dataset = json.loads((tmp_path / "dataset.json").read_text())
    assert [e["kind"] for e in dataset["test_lesion"]] == ["stroke"]
    assert (tmp_path / dataset["training"][0]["image"]).is_file()
