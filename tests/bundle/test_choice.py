# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.bundle.choice import choose_models, model_of
from monai_cuas.cli import main
from monai_cuas.data.contrast import Contrast
from monai_cuas.utils import CUASError

from .conftest import CONFIGS, write_bright

SHIPPED = ("phantom", "flair", "t1")


def test_a_contrast_gets_its_weights():
    assert model_of(Contrast("t1", "file name"), SHIPPED) == ("t1", "")
    assert model_of(Contrast("t1", "file name", "its sidecar says FLAIR"), SHIPPED) == (
        *("t1", "taken for T1, but its sidecar says FLAIR"),
    )


@pytest.mark.parametrize("name", ["t2", "ct", "t1ce", "diffusion"])
def test_what_no_weights_know_is_said(name):
    model, note = model_of(Contrast(name, "file name"), SHIPPED)
    assert model == "phantom"
    assert note.startswith("no weights for")
    assert "; " not in note  # one note, not two


def test_what_cannot_be_told_is_said():
    model, note = model_of(Contrast(None, "nothing tells it"), SHIPPED)
    assert model == "phantom"
    assert "could not be told (nothing tells it)" in note
    assert "--contrast (flair, t1)" in note


def test_scans_are_shared_out():
    entries = [{"image": f"{name}.nii.gz", "name": name} for name in ("a_T1w", "b_FLAIR", "c_T1w", "d_bold")]
    t1, flair, rest = choose_models(entries, SHIPPED)
    assert [scan["name"] for scan in t1.scans] == ["a_T1w", "c_T1w"]
    assert t1.why == "model t1 for 2 scans (T1: file name)"
    assert "image_notes" not in flair.scans[0]
    assert rest.model == "phantom"
    assert len(rest.scans[0]["image_notes"]) == 1
    (forced,) = choose_models(entries, SHIPPED, "flair")
    assert (forced.model, len(forced.scans)) == ("flair", 4)
    with pytest.raises(CUASError, match="no contrast 'pd'"):
        choose_models(entries, SHIPPED, "pd")


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A folder with a bundle of three weights, whose map is the intensity."""
    shutil.copytree(CONFIGS, tmp_path / "bundle" / "configs")
    (tmp_path / "bundle" / "models").mkdir()
    for name in ("model", "model_flair", "model_t1"):
        write_bright(tmp_path / "bundle" / "models" / f"{name}.pt")
    monkeypatch.chdir(tmp_path / "bundle")
    volume = np.zeros((24, 24, 24), dtype=np.float32)
    volume[4:20, 4:20, 4:20] = np.random.default_rng(0).uniform(50, 100, (16, 16, 16))
    for folder, name in (("1", "scan_T1w"), ("2", "scan_FLAIR"), ("3", "scan"), ("4", "scan_T1w")):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(volume, np.diag([8.0, 8, 8, 1])), tmp_path / "scans" / folder / f"{name}.nii.gz")
    return tmp_path


def _rows(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_folder_of_several_contrasts_in_one_command(bundle, capsys):
    out = bundle / "out"
    assert main(["infer", str(bundle / "scans"), "--output_dir", str(out), "--device", "cpu", "--rate", "0.1"]) == 0
    rows = _rows(out)
    assert {name: row["model"] for name, row in rows.items()} == {
        "1_scan_T1w": "model_t1.pt",
        "4_scan_T1w": "model_t1.pt",
        "scan_FLAIR": "model_flair.pt",
        "scan": "model.pt",
    }
    assert "could not be told" in rows["scan"]["notes"]
    assert "could not be told" not in rows["scan_FLAIR"]["notes"]
    said = capsys.readouterr().out
    assert "model t1 for 2 scans (T1: file name)" in said
    assert "model flair for 1 scan (FLAIR: file name)" in said
    # what is doubtful is not in the table alone
    assert said.count("  note: its contrast could not be told") == 1


def test_the_contrast_may_be_said(bundle, capsys):
    scan = ["infer", str(bundle / "scans" / "3"), "--output_dir", str(bundle / "out"), "--device", "cpu"]
    assert main([*scan, "--rate", "0.1", "--contrast", "T1"]) == 0
    (row,) = _rows(bundle / "out").values()
    assert row["model"] == "model_t1.pt"
    assert "contrast" not in row["notes"]
    assert main([*scan, "--contrast", "t1", "--model", "phantom"]) == 1
    assert "give one of the two" in capsys.readouterr().err


def test_scans_of_other_weights_go_on_where_one_is_bad(bundle, capsys):
    (bundle / "scans" / "1" / "bad_T1w.nii.gz").write_bytes(b"damaged")
    out = bundle / "out"
    assert main(["infer", str(bundle / "scans"), "--output_dir", str(out), "--device", "cpu", "--rate", "0.1"]) == 1
    assert "bad_T1w.nii.gz" in capsys.readouterr().err
    assert len(_rows(out)) == 4
