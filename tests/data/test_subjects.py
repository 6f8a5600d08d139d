# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.subjects import SUBJECT_KEYS, subject_of
from monai_cuas.utils import CUASError


@pytest.mark.parametrize("key", SUBJECT_KEYS)
def test_a_subject_is_known_by_any_of_the_keys_and_by_bids_names_else_by_the_file(key, tmp_path):
    assert subject_of({"image": "x.nii.gz", key: 7}) == subject_of({"image": "y.nii.gz", key: " 7 "}) == "7"
    assert subject_of({"image": "sub-03_ses-2_T1w.nii.gz"}) == "03"
    assert subject_of({"image": ["a/sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz", "b.nii"]}) == "03"
    assert subject_of({"image": "submarine.nii.gz"}) != subject_of({"image": "sub.nii.gz"})
    assert subject_of({"image": "/d/x.nii.gz", key: None}) == "/d/x.nii.gz"


def _file(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(content).bytes(300_000))
    return name


def _write(folder, **lists):
    path = folder / "dataset.json"
    path.write_text(json.dumps(lists))
    return path


@pytest.mark.parametrize(
    "pair",
    [
        ("training", "calibration"),
        ("training", "validation"),
        ("calibration", "validation"),
        ("training", "test_normal"),
        ("training", "test_lesion"),
        ("calibration", "test_lesion"),
        ("validation", "test_normal"),
    ],
)
@pytest.mark.parametrize("asked", ["training", "calibration", "test_normal"])
def test_a_subject_of_two_lists_is_refused_by_name_whichever_list_is_asked_for(tmp_path, pair, asked):
    a, b, c = (_file(tmp_path, f"{k}.nii.gz", k) for k in range(3))
    first, second = pair
    one = {"image": a, "subject": "P-17", "session": "1"}
    other = {"image": b, "subject": "P-17", "session": "2"}
    path = _write(tmp_path, **{first: [one], second: [other, {"image": c, "subject": "P-18"}]})
    with pytest.raises(CUASError, match=f"'P-17' \\({first} and {second}\\)") as caught:
        load_datalist(path, asked, allow_empty=True)
    assert "P-18" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_sessions_within_a_list_and_a_patients_normal_and_lesion_test_scans_are_allowed(tmp_path):
    names = [_file(tmp_path, f"{k}.nii.gz", k) for k in range(4)]
    path = _write(
        tmp_path,
        training=[{"image": names[0], "subject": "a"}, {"image": names[1], "subject": "a"}],
        test_normal=[{"image": names[2], "subject": "b"}],
        test_lesion=[{"image": names[3], "subject": "b"}],
    )
    assert len(load_datalist(path, "training")) == 2
    assert len(load_datalist(path, "test_lesion")) == 1


def test_without_a_subject_key_bids_names_and_files_tell(tmp_path):
    first = _file(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz", 0)
    second = _file(tmp_path, "other/sub-01_ses-2_FLAIR.nii.gz", 1)
    path = _write(tmp_path, training=[{"image": first}], calibration=[{"image": second}])
    with pytest.raises(CUASError, match="'01' \\(training and calibration\\)"):
        load_datalist(path, "calibration")


@pytest.mark.parametrize("how", ["same", "link", "copy", "folder"])
def test_one_file_in_two_lists_is_refused_under_whatever_name(tmp_path, how):
    name = _file(tmp_path, "scan.nii.gz", 0)
    other = {"same": name, "link": "l.nii.gz", "copy": "c.nii.gz", "folder": "./there/../scan.nii.gz"}[how]
    (tmp_path / "there").mkdir()
    if how == "link":
        os.symlink(tmp_path / name, tmp_path / other)
    if how == "copy":
        shutil.copy(tmp_path / name, tmp_path / other)
    lists = {"training": [{"image": name, "subject": "a"}], "validation": [{"image": other, "subject": "b"}]}
    with pytest.raises(CUASError, match="more than one list"):
        load_datalist(_write(tmp_path, **lists), "training")


def test_files_of_one_size_that_differ_in_a_byte_between_are_two_scans(tmp_path):
    one = _file(tmp_path, "a.nii", 0)
    content = bytearray((tmp_path / one).read_bytes())
    content[80_000] ^= 1
    (tmp_path / "b.nii").write_bytes(content)
    assert load_datalist(_write(tmp_path, training=[{"image": one}], calibration=[{"image": "b.nii"}]), "training")


def test_many_shared_subjects_are_counted_and_only_the_files_name_is_told(tmp_path):
    names = [_file(tmp_path, f"secret_folder/{k}.nii.gz", k) for k in range(8)]
    entries = [{"image": name} for name in names]
    with pytest.raises(CUASError, match="and 3 more") as caught:
        load_datalist(_write(tmp_path, training=entries, test_normal=entries), "training")
    assert "secret_folder" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '"x"', '{"training": {"image": "a"}}', '{"training": "a.nii.gz"}'])
def test_what_is_no_data_list_is_said(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(CUASError, match="no data list"):
        load_datalist(tmp_path / "dataset.json", "training")
