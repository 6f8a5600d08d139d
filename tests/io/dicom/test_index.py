# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.data.scans import scan_datalist
from monai_cuas.io.dicom import find_series, get_series, is_series_path, split_series_path
from monai_cuas.transforms import LoadScand
from monai_cuas.utils import CUASError, ScanError
from tests import dicom_files as made

IMAGE, AFFINE = made.brain((20, 16, 12)), made.oblique_affine()
SECRETS = (*made.IDENTITY, "DOE_JOHN", "OTHER-ID")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients in nested folders named after them, with all that an archive puts between the images."""
    root = tmp_path_factory.mktemp("archive")
    first, second = made.slices(IMAGE, AFFINE), made.slices(IMAGE * 2, AFFINE, patient="OTHER-ID")
    ct = made.slices(IMAGE, AFFINE, "CT", True, [(1.0, -1024.0)])
    for ds in ct:
        ds.SeriesDescription = "Head native"
    # one folder holds parts of two series, and each series lies in two folders
    made.save(first[:5] + second[5:], root / "DOE_JOHN" / "00", "")
    made.save(first[5:] + second[:5], root / "DOE_JOHN" / "01", "")
    made.save([*ct, made.report(), made.report()], root / "other" / "ct")
    made.save(made.enhanced(IMAGE, AFFINE), root / "other", "")
    made.save([*made.localiser(), *made.localiser(marked=False), *made.slices(IMAGE[..., :3], AFFINE)], root / "loc")
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish")
    (root / "broken.dcm").write_bytes(b"no DICOM at all")
    (root / "notes.txt").write_text("text")
    return root


def test_series_are_found_wherever_their_files_lie(archive):
    index = find_series(archive)
    assert sorted((s.headers[0].modality, len(s.headers), len(s.planes)) for s in index.series) == [
        ("CT", 12, 12), ("MR", 1, 12), ("MR", 12, 12), ("MR", 12, 12)
    ]  # fmt: skip
    text = "\n".join(index.left_out)
    for words in ("left out, a localiser", "several orientations", "3 slice", "2 x Enhanced SR Storage", "unreadable"):
        assert words in text
    assert not any(secret in text for secret in SECRETS)


def test_names_and_log_hold_no_identity(archive, caplog):
    with caplog.at_level(logging.DEBUG):
        entries = scan_datalist(archive)
    assert [e["name"] for e in entries] == sorted(s.uid for s in find_series(archive).series)
    assert [e["image"] for e in entries] == [f"{archive}::{e['name']}" for e in entries]
    assert "localiser" in caplog.text
    assert not any(secret in caplog.text + repr(entries) for secret in SECRETS)


def test_each_entry_is_read_as_its_own_series(archive):
    scans = [LoadScand("image")(entry)["image"] for entry in scan_datalist(archive)]
    # the CT's background is 0 too, as the rescaled image is what was given
    maxima = sorted(float(scan.max()) for scan in scans)
    assert maxima == [float(v) for v in sorted([IMAGE.max()] * 3 + [2 * IMAGE.max()])]
    for scan in scans:
        np.testing.assert_array_equal(scan[0].numpy(), IMAGE * (float(scan.max()) / IMAGE.max()))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"dicom_where": {"Modality": "CT"}}, 1),
        ({"dicom_where": {"SeriesDescription": "*flair*", "SOPClassUID": "*.4.1"}}, 1),
        ({"pattern": "*native"}, 1),
        ({"dicom_min_slices": 3}, 5),
    ],
)
def test_choice(archive, options, count):
    assert len(scan_datalist(archive, **options)) == count


def test_nothing_left_tells_why(archive):
    with pytest.raises(CUASError, match="there is no scan.*its Modality does not match") as caught:
        scan_datalist(archive, dicom_where={"Modality": "XA"})
    assert not any(secret in str(caught.value) for secret in SECRETS)
    with pytest.raises(CUASError, match="not a DICOM keyword"):
        scan_datalist(archive, dicom_where={"Series": "*"})


def test_beside_nifti(archive, tmp_path):
    shutil.copytree(archive / "other", tmp_path / "x")
    (tmp_path / "a.nii.gz").write_text("")
    assert [e["name"] for e in scan_datalist(tmp_path)][0] == "a"
    assert len(scan_datalist(tmp_path)) == 3


def test_one_multi_frame_file(archive):
    (file,) = [f for f in (archive / "other").iterdir() if f.is_file()]
    (entry,) = scan_datalist(file)
    assert entry["image"] == f"{file}::{entry['name']}"
    np.testing.assert_array_equal(LoadScand("image")(entry)["image"][0].numpy(), IMAGE)


def test_path_of_a_series(archive, tmp_path):
    uid = find_series(archive).series[0].uid
    assert is_series_path(f"{archive}::{uid}")
    assert split_series_path(f"/a::1/b::{uid}") == ("/a::1/b", uid)
    assert get_series(f"{archive}::{uid}").uid == uid
    assert not is_series_path(str(archive))
    with pytest.raises(ScanError, match="no such DICOM series"):
        get_series(f"{archive}::1.2.3")
    with pytest.raises(ScanError, match="no such file"):
        LoadScand("image")({"image": f"{tmp_path}/gone::1.2.3"})


def test_files_that_changed_are_looked_up_again(tmp_path):
    folder = made.save(made.slices(IMAGE, AFFINE), tmp_path / "a")
    (series,) = find_series(folder).series
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"moved{number}")
    assert len(get_series(series.path).headers) == 12


def test_folder_must_hold_one_series_to_be_a_scan(archive, tmp_path):
    with pytest.raises(ScanError, match="holds 5 DICOM series; name one of them as FOLDER::"):
        LoadScand("image")({"image": str(archive)})
    made.save(made.report(), tmp_path)
    with pytest.raises(ScanError, match="no DICOM series.*Enhanced SR"):
        LoadScand("image")({"image": str(tmp_path)})


def test_uid_that_would_be_a_path_is_passed_over(tmp_path):
    datasets = made.slices(IMAGE, AFFINE, series_uid="../../ZYXNAME")
    made.save(datasets, tmp_path)
    (sentence,) = find_series(tmp_path).left_out
    assert "12 x image without valid series and instance UIDs" in sentence


def test_without_pydicom_the_remedy_is_named_and_other_scans_go_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("monai_cuas.io.dicom.header.has_pydicom", False)
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "a")
    with pytest.raises(CUASError, match=r"pip install 'monai_cuas\[dicom\]'"):
        scan_datalist(tmp_path)
    (tmp_path / "b.nii.gz").write_text("")
    assert [e["name"] for e in scan_datalist(tmp_path)] == ["b"]
    assert "pip install 'monai_cuas[dicom]'" in caplog.text


def test_malformed_values_do_not_reach_the_warnings(tmp_path, recwarn, caplog):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        # too long for their kinds, and not of their form: what pydicom likes to quote
        ds.PatientID, ds.PatientName = made.PATIENT_ID * 9, made.NAME * 9
        ds.PatientBirthDate, ds.Modality = f"born {made.BIRTH_DATE}", "ZYXNAME mr"
    made.save(datasets, tmp_path)
    recwarn.clear()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        (entry,) = scan_datalist(tmp_path)
        LoadScand("image")(entry)
    text = caplog.text + "".join(str(w.message) for w in recwarn)
    assert not any(secret in text for secret in made.IDENTITY)
