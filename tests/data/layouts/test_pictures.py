# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from monai_cuas.cli import main
from monai_cuas.data.layouts import read_layout
from monai_cuas.data.scans import scan_datalist
from monai_cuas.utils import CUASError

from ..folders import mvtec, picture, reasons, scan

GREY = np.arange(20 * 30).reshape(20, 30) % 251


def test_mvtec(tmp_path):
    report = read_layout(mvtec(tmp_path))
    assert report.layout == "mvtec"
    assert [(e.subject, e.role, e.part, e.extra.get("kind")) for e in report] == [
        ("train_good_000", "normal", "train", None),
        ("train_good_001", "normal", "train", None),
        ("test_good_000", "normal", "test", None),
        ("test_hole_000", "lesion", "test", "hole"),
    ]
    assert report.entries[3].label == tmp_path / "ground_truth" / "hole" / "000_mask.png"
    with pytest.raises(CUASError, match="no sequences"):
        read_layout(tmp_path, sequences=["t1"])


def test_mvtec_several_categories(tmp_path):
    for name in ("bottle", "cable"):
        mvtec(tmp_path / name)
    with pytest.raises(CUASError, match="holds several categories .bottle, cable"):
        read_layout(tmp_path, "mvtec")


def test_mvtec_masks_that_do_not_fit(tmp_path):
    mvtec(tmp_path)
    picture(tmp_path / "ground_truth" / "hole" / "000_mask.png", np.zeros((5, 5)))
    report = read_layout(tmp_path)
    assert report.entries[-1].label is None
    assert reasons(report) == {"000_mask.png": "the mask has another size than 000.png"}


def test_what_the_layout_keeps_for_testing_is_never_trained_on(tmp_path, capsys):
    mvtec(tmp_path / "bottle", good=17)
    words = ["datalist", "--input", str(tmp_path / "bottle"), "--output", str(tmp_path / "d.json")]
    assert main(words) == 0
    content = json.loads((tmp_path / "d.json").read_text())
    sizes = [len(content[k]) for k in ("training", "calibration", "validation", "test_normal", "test_lesion")]
    assert sizes == [11, 4, 2, 1, 1]  # 55:20:10 of 17
    assert content["test_normal"][0]["image"] == "bottle/test/good/000.png"
    assert content["test_lesion"][0]["label"] == "bottle/ground_truth/hole/000_mask.png"
    assert "left out" not in capsys.readouterr().out


def test_images2d(tmp_path):
    for name in ("a.png", "b.jpg", "c.tif"):
        picture(tmp_path / name, GREY)
    picture(tmp_path / "labels" / "a_mask.png", GREY > 100)
    picture(tmp_path / "rgb.png", np.stack([GREY] * 3, axis=-1))
    picture(tmp_path / "rgba.png", np.stack([GREY] * 4, axis=-1))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 20, 30), np.uint8)), str(tmp_path / "stack.tif"))
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").touch()
    report = read_layout(tmp_path)
    assert report.layout == "images2d"
    assert [(e.subject, e.role) for e in report] == [("a", "lesion"), ("b", None), ("c", None)]
    assert reasons(report) == {
        "rgb.png": "3 colour channels, where the first picture has 1",
        "rgba.png": "has a channel for transparency; save it without",
        "stack.tif": "a stack of 3 pictures; save it as a volume (NRRD or NIfTI) or as single pictures",
        "bad.png": "not a readable picture",
        "empty.png": "the file is empty",
        "notes.txt": "not PNG, JPEG or TIFF",
    }


def test_colour_pictures_tell_the_number_of_channels(tmp_path):
    picture(tmp_path / "a.png", np.stack([GREY] * 3, axis=-1))
    assert read_layout(tmp_path).warnings == ["The pictures have 3 channels: train with --in_channels 3."]


def test_volumes_come_first_where_there_are_both(tmp_path):
    scan(tmp_path / "a.nii.gz")
    picture(tmp_path / "a_overlay.png", GREY)
    assert read_layout(tmp_path).layout == "plain"


@pytest.mark.parametrize("layout", ["mvtec", "images2d", "brats2019", "brats2023", "wmh2017", "msd_task01", "ct_ich"])
def test_empty_folder_gives_one_sentence(tmp_path, layout):
    with pytest.raises(CUASError) as caught:
        read_layout(tmp_path, layout)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_are_listed_for_inference_only_if_planar(tmp_path):
    picture(tmp_path / "a.png", GREY)
    scan(tmp_path / "b.nii.gz")
    assert [e["name"] for e in scan_datalist(tmp_path)] == ["b"]
    assert [e["name"] for e in scan_datalist(tmp_path, pictures=True)] == ["a"]
    with pytest.raises(CUASError, match="there is no scan .PNG"):
        scan_datalist(scan(tmp_path / "c" / "c.nii.gz").parent, pictures=True)


def test_help_names_every_layout_and_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["datalist", "--help"])
    text = capsys.readouterr().out
    for name in ("ixi", "mslub", "wmh2017", "brats2019", "brats2020", "brats2021", "brats2023", "msd_task01"):
        assert f"\n  {name} " in text
    for name in ("ct_ich", "mvtec", "bids", "plain", "images2d", "brats2019_paper", "ct_ich_paper"):
        assert f"\n  {name} " in text
