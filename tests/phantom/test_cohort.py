# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("nilearn", reason="the phantom needs nilearn's maps (extra [phantom])")

from monai_cuas.cli import main
from monai_cuas.phantom import LESION_KINDS, make_phantom_cohort, make_phantom_subject, split_counts
from monai_cuas.utils import CUASError


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_and_other_seed_differs(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_phantom_cohort(tmp_path / name, 1, 1, spacing=4.0, seed=seed, progress=False)
    a, b, c = (_digests(tmp_path / name) for name in "abc")
    assert a == b
    scans = [k for k in a if k.endswith("FLAIR.nii.gz")]
    assert len(scans) == 2
    assert all(a[k] != c[k] for k in scans)


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_obvious_lesion_is_inside_the_brain_and_measured(kind):
    subject = make_phantom_subject(1, 0, kind, spacing=4.0, size_mm=24.0, lesion_contrast=1.0)
    lesion = subject.label > 0
    assert lesion.any()
    assert (subject.image[lesion] > 0).all()
    assert subject.record["volume_ml"] == pytest.approx(lesion.sum() * 0.064, abs=1e-3)
    assert abs(subject.record["contrast"]) > 0.2
    assert subject.image.min() == 0
    assert (subject.image[0] == 0).all()


def test_splits_are_disjoint_and_an_existing_cohort_is_kept(tmp_path):
    index = Path(make_phantom_cohort(tmp_path, 6, 1, spacing=6.0, progress=False))
    before = index.stat().st_mtime_ns
    document = json.loads(index.read_text())
    names = ("training", "calibration", "validation", "test_normal", "test_lesion")
    subjects = [e["subject"] for name in names for e in document[name]]
    assert len(subjects) == len(set(subjects)) == 7
    make_phantom_cohort(tmp_path, 6, 1, spacing=6.0, progress=False)
    assert index.stat().st_mtime_ns == before
    image = nib.load(tmp_path / document["training"][0]["image"])
    assert image.header["sform_code"] == 1
    assert image.header["qform_code"] == 1


def test_split_counts():
    assert split_counts(100) == {"training": 55, "calibration": 20, "validation": 10, "test_normal": 15}
    assert split_counts(6) == {"training": 1, "calibration": 3, "validation": 1, "test_normal": 1}


def test_oblique_thick_slices_have_their_geometry():
    subject = make_phantom_subject(0, 0, spacing=4.0, thick=True, oblique=True)
    lengths = np.linalg.norm(subject.affine[:3, :3], axis=0)
    np.testing.assert_allclose(lengths, (4.0, 4.0, 8.0))
    assert np.abs(subject.affine[:3, :3] / lengths - np.eye(3)).max() > 0.02


def test_foreign_dataset_is_not_touched(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(CUASError, match="choose another output folder"):
        make_phantom_cohort(tmp_path, 1, 0, progress=False)
    assert (tmp_path / "dataset.json").read_text() == "{}"


def test_command_line(tmp_path, capsys):
    assert main(["phantom", "--output_dir", str(tmp_path), "--normals", "1", "--lesions", "0", "--spacing", "8"]) == 0
    assert main(["phantom", "--output_dir", str(tmp_path), "--contrast", "pet"]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("Unknown contrast 'pet'")


def test_brains_are_of_human_size():
    """Larger ones would be refused as not skull-stripped; the template itself is larger than most brains."""
    subjects = [make_phantom_subject(k, 0, spacing=6.0) for k in range(8)]
    volumes = [(s.image > 0).sum() * 0.216 for s in subjects]
    assert min(volumes) > 1000
    assert max(volumes) < 2100
    assert np.std(volumes) > 20
