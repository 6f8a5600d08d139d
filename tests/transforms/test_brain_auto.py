# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.cli import main
from monai_cuas.transforms import AnomalyPreprocessing, AutoBrainMaskd
from monai_cuas.transforms.brain import hd_bet
from monai_cuas.utils import ScanError, notes_of

from ..bundle.conftest import write_bright
from .test_brain import dice, head_ct, save


class _Ball:
    """In HD-BET's place: a ball in the middle."""

    parameters: dict = {}

    def __call__(self, img):
        grid = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in img.shape[1:]], indexing="ij"))
        return MetaTensor(
            torch.from_numpy(((grid**2).sum(axis=0) < 15**2).astype(np.uint8)[None]), meta=getattr(img, "meta", None)
        )


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(hd_bet, "has_hd_bet", True)
    monkeypatch.setitem(__import__("monai_cuas.transforms.brain.dictionary", fromlist=["_"])._MASKERS, "hd-bet", _Ball)


@pytest.fixture
def head(tmp_path):
    """MR of a head: tissue up to the side faces."""
    volume = np.random.default_rng(0).uniform(50, 200, (48, 48, 48)).astype(np.float32)
    volume[:, :, 44:] = 0
    return save(tmp_path / "head.nii.gz", volume, np.diag([4.0, 4, 4, 1]))


@pytest.fixture
def stripped(tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(48) - 24] * 3, indexing="ij"))
    volume = np.where((grid**2).sum(axis=0) < 17**2, np.random.default_rng(0).uniform(50, 200, (48, 48, 48)), 0)
    return save(tmp_path / "stripped.nii.gz", volume.astype(np.float32), np.diag([4.0, 4, 4, 1]))


def test_a_head_gets_its_brain_found_and_that_is_said(head, installed, tmp_path):
    done = AnomalyPreprocessing(brain_extraction="auto", preprocessing_cache=tmp_path / "cache")({"image": head})
    (note,) = [n for n in notes_of(done["image"].meta) if "skull" in n]
    assert note.startswith("not skull-stripped, as ")
    assert note.endswith("so its brain was found by hd-bet")
    assert int(done["brain_mask"].sum()) == int(_Ball()(done["brain_mask"]).sum())


def test_a_stripped_scan_is_as_with_none(stripped, installed):
    auto, none = (AnomalyPreprocessing(brain_extraction=way)({"image": stripped}) for way in ("auto", "none"))
    np.testing.assert_array_equal(np.asarray(auto["brain_mask"]), np.asarray(none["brain_mask"]))
    np.testing.assert_array_equal(np.asarray(auto["image"]), np.asarray(none["image"]))
    assert notes_of(auto["image"].meta) == notes_of(none["image"].meta)


def test_without_hd_bet_it_is_refused_with_the_way_out(head, monkeypatch):
    monkeypatch.setattr(hd_bet, "has_hd_bet", False)
    with pytest.raises(ScanError, match=r"not skull-stripped, as .*pip install 'monai_cuas\[bet\]'"):
        AnomalyPreprocessing(brain_extraction="auto")({"image": head})


@pytest.mark.parametrize("clipped", [False, True])
def test_ct_with_skull_is_known(tmp_path, installed, clipped):
    volume, truth = head_ct(clipped=clipped)
    file = save(tmp_path / "ct.nii.gz", volume)
    done = AnomalyPreprocessing(brain_extraction="auto")({"image": file})
    assert any("found by head-ct" in note for note in notes_of(done["image"].meta))
    assert dice(np.asarray(done["brain_mask"])[0], truth["brain"]) > 0.9


def test_array_without_metadata(installed):
    volume = torch.rand(1, 40, 40, 40) * 100 + 50
    assert AutoBrainMaskd("image")({"image": volume})["brain_mask"].shape == volume.shape


def test_infer_takes_a_folder_of_both(head, stripped, installed, tmp_path, monkeypatch):
    weights = write_bright(tmp_path / "model.pt")
    scans = tmp_path / "scans"
    scans.mkdir()
    for file in (head, stripped):
        nib.save(nib.load(file), scans / file.rpartition("/")[2])
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "scans", "--model", str(weights), "--output_dir", "out", "--device", "cpu"]) == 0
    table = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8")
    assert table.count("its brain was found by hd-bet") == 1
    assert main(["infer", head, "--model", str(weights), "--output_dir", "o2", "--brain_extraction", "none"]) == 1
