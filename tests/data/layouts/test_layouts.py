# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from monai.data import load_decathlon_datalist

from monai_cuas.cli import main
from monai_cuas.data.datalist import load_datalist, settle_roles
from monai_cuas.data.layouts import detect_layout, read_layout
from monai_cuas.utils import CUASError

from ..folders import real, reasons, scan


def test_ixi(tmp_path):
    for name in ("IXI012-HH-1211-T1", "IXI012-HH-1211-T2", "IXI002-Guys-0828", "other"):
        scan(tmp_path / f"{name}.nii.gz")
    (tmp_path / "._IXI012-HH-1211-T1.nii.gz").write_bytes(b"x")
    (tmp_path / "IXI099-IOP-0001-T1.nii.gz").touch()
    (tmp_path / "IXI100-IOP-0001-T1.nii.gz").write_text("not a scan")
    assert detect_layout(tmp_path) == "ixi"
    report = read_layout(tmp_path)
    assert [(e.subject, e.site, e.session, e.role) for e in report] == [
        ("IXI002", "Guys", "0828", "normal"),
        ("IXI012", "HH", "1211", "normal"),
    ]
    assert reasons(report) == {
        "other.nii.gz": "not named like IXI012-HH-1211-T1.nii.gz",
        "IXI099-IOP-0001-T1.nii.gz": "the file is empty",
        "IXI100-IOP-0001-T1.nii.gz": "not a readable NIfTI file",
    }
    both = read_layout(tmp_path, "ixi", sequences=["T2", "T1"])
    assert [p.name for p in both.entries[0].images] == ["IXI012-HH-1211-T2.nii.gz", "IXI012-HH-1211-T1.nii.gz"]
    assert reasons(both)["IXI002-Guys-0828"] == "no t2 (has t1)"


def test_mslub(tmp_path):
    for patient in ("patient10", "patient2"):
        for name in ("FLAIR", "T1W", "consensus_gt"):
            scan(tmp_path / patient / f"{name}.nii.gz")
    scan(tmp_path / "patient2" / "T2W.nii.gz")
    report = read_layout(tmp_path)
    assert report.layout == "mslub"
    assert [e.subject for e in report] == ["patient2", "patient10"]
    assert {e.role for e in report} == {"lesion"}
    three = read_layout(tmp_path, "mslub", sequences=["flair", "t1", "t2"])
    assert [p.name for p in three.entries[0].images] == ["FLAIR.nii.gz", "T1W.nii.gz", "T2W.nii.gz"]
    assert reasons(three) == {"patient10": "no t2 (has flair, t1)"}


def test_bids_roles_sessions_and_masks(tmp_path):
    for subject in ("01", "02", "03"):
        scan(tmp_path / f"sub-{subject}" / "ses-1" / "anat" / f"sub-{subject}_ses-1_T1w.nii.gz")
    folder = tmp_path / "derivatives" / "lesions" / "sub-01" / "ses-1" / "anat"
    scan(folder / "sub-01_ses-1_space-orig_label-L_desc-T1lesion_mask.nii.gz")
    scan(folder / "sub-01_ses-1_desc-brain_mask.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-02\tcontrol\n")
    report = read_layout(tmp_path)
    assert report.layout == "bids"
    assert [(e.subject, e.session, e.role) for e in report] == [
        ("01", "1", "lesion"),
        ("02", "1", "normal"),
        ("03", "1", None),
    ]
    assert report.entries[0].label.name == "sub-01_ses-1_space-orig_label-L_desc-T1lesion_mask.nii.gz"
    assert report.entries[1].label is None


def test_bids_contrast_agent_is_another_sequence(tmp_path):
    for subject in ("01", "02"):
        scan(tmp_path / f"sub-{subject}" / "anat" / f"sub-{subject}_ce-gad_T1w.nii.gz")
    scan(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    scan(tmp_path / "sub-01" / "anat" / "sub-01_mod-T1w_defacemask.nii.gz")
    report = read_layout(tmp_path, "bids")
    assert [[p.name for p in e.images] for e in report] == [["sub-01_T1w.nii.gz"]]
    assert reasons(report) == {"sub-02": "no t1 (has t1ce)"}
    enhanced = read_layout(tmp_path, "bids", sequences=["t1ce"])
    assert [e.images[0].name for e in enhanced] == ["sub-01_ce-gad_T1w.nii.gz", "sub-02_ce-gad_T1w.nii.gz"]


@pytest.mark.parametrize(
    "name",
    ["desc-brain_mask", "T1w_brain_mask", "brain_mask", "T1w_bet_mask", "brainmask", "label-GM_mask", "desc-aseg_dseg"],
)
def test_bids_masks_that_are_no_lesion_by_name(tmp_path, name):
    scan(tmp_path / "sub-01" / "anat" / "sub-01_desc-brain_T1w.nii.gz")
    scan(tmp_path / "derivatives" / "x" / "sub-01" / "anat" / f"sub-01_{name}.nii.gz")
    (entry,) = read_layout(tmp_path, "bids")
    assert entry.images[0].name == "sub-01_desc-brain_T1w.nii.gz"
    assert (entry.role, entry.label) == (None, None)


def test_bids_mask_of_a_whole_brain_is_no_lesion(tmp_path):
    values = np.ones((30, 30, 30), np.uint8)
    scan(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", values=values)
    scan(tmp_path / "derivatives" / "x" / "sub-01" / "anat" / "sub-01_mask.nii.gz", values=values)
    report = read_layout(tmp_path, "bids")
    assert [(e.role, e.label) for e in report] == [(None, None)]
    assert "of the brain" in reasons(report)["sub-01_mask.nii.gz"]


def test_bids_cohort_folder_as_in_atlas(tmp_path):
    scan(tmp_path / "R001" / "sub-r001s001" / "ses-1" / "anat" / "sub-r001s001_ses-1_T1w.nii.gz")
    assert [e.subject for e in read_layout(tmp_path, "bids")] == ["r001s001"]


def test_mask_on_another_grid_is_not_taken(tmp_path):
    scan(tmp_path / "rawdata" / "sub-1" / "ses-1" / "sub-1_ses-1_flair.nii.gz")
    scan(tmp_path / "rawdata" / "sub-1" / "ses-1" / "sub-1_ses-1_dwi.nii.gz", (3, 3, 3))
    scan(tmp_path / "derivatives" / "sub-1" / "ses-1" / "sub-1_ses-1_msk.nii.gz", (3, 3, 3))
    report = read_layout(tmp_path, "bids")
    assert report.entries[0].label is None
    assert report.entries[0].role == "lesion"
    assert "another grid" in reasons(report)["sub-1_ses-1_msk.nii.gz"]
    assert read_layout(tmp_path, "bids", sequences=["dwi"]).entries[0].label is not None


def test_plain_with_labels(tmp_path):
    scan(tmp_path / "a.nii.gz")
    scan(tmp_path / "b.nii")
    scan(tmp_path / "labels" / "a_mask.nii.gz")
    scan(tmp_path / "labels" / "z.nii.gz")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), np.uint8)), str(tmp_path / "c.nrrd"))
    report = read_layout(tmp_path)
    assert report.layout == "plain"
    assert [(e.subject, e.role) for e in report] == [("a", "lesion"), ("b", None), ("c", None)]
    assert report.entries[0].label == tmp_path / "labels" / "a_mask.nii.gz"
    assert reasons(report) == {
        "notes.txt": "not NIfTI, NRRD or DICOM",
        "gone.nii.gz": "a link that leads nowhere",
        "z.nii.gz": "a mask without a scan of the same name",
    }


def test_a_link_that_goes_round_is_walked_once(tmp_path):
    scan(tmp_path / "a" / "x.nii.gz")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(read_layout(tmp_path, "plain")) == 1


@pytest.mark.parametrize("layout", ["ixi", "mslub", "bids", "plain", "auto"])
def test_empty_folder_gives_one_sentence(tmp_path, layout):
    with pytest.raises(CUASError) as caught:
        read_layout(tmp_path, layout)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "options", "words"),
    [
        ("nonsense", {}, "Unknown layout"),
        ("ixi", {"sequences": ["flair"]}, "no sequence 'flair'"),
        ("plain", {"sequences": ["t1"]}, "no sequence names"),
        ("ixi", {"colour": 1}, "no option 'colour'"),
    ],
)
def test_wrong_calls(tmp_path, layout, options, words):
    scan(tmp_path / "IXI012-HH-1211-T1.nii.gz")
    with pytest.raises(CUASError, match=words):
        read_layout(tmp_path, layout, **options)


def test_missing_folder(tmp_path):
    with pytest.raises(CUASError, match="does not exist"):
        read_layout(tmp_path / "none")


def test_command_writes_relative_paths_and_keeps_subjects_apart(tmp_path, capsys):
    for i in range(10):
        scan(tmp_path / "data" / f"IXI{i:03d}-HH-{1000 + i}-T1.nii.gz")
    for name in ("FLAIR", "T1W", "consensus_gt"):
        scan(tmp_path / "lesions" / "patient01" / f"{name}.nii.gz")
    output, split = tmp_path / "dataset.json", tmp_path / "split.json"
    words = ["datalist", "--input", str(tmp_path / "data"), "--output", str(output), "--split_file", str(split)]
    words += ["--test_lesions", str(tmp_path / "lesions"), "--test_sequences", "t1"]
    assert main([*words, "--seed", "5"]) == 0
    first = output.read_bytes()
    content = json.loads(first)
    sizes = [len(content[k]) for k in ("training", "calibration", "validation", "test_normal", "test_lesion")]
    assert sizes == [6, 2, 1, 1, 1]  # 5.5, 2, 1, 1.5: of equal remainders the first part gets the one left over
    assert content["training"][0]["image"].startswith("data/IXI")
    assert content["test_lesion"][0]["label"] == "lesions/patient01/consensus_gt.nii.gz"
    for item in load_decathlon_datalist(output, True, "training"):
        assert Path(item["image"]).is_file()
    assert main([*words, "--seed", "6"]) == 0  # the split file, not the seed, decides
    assert json.loads(output.read_bytes())["training"] == content["training"]
    assert "10 scans found" in capsys.readouterr().out


def test_command_does_not_guess_roles(tmp_path, capsys):
    scan(tmp_path / "data" / "a.nii.gz")
    words = ["datalist", "--input", str(tmp_path / "data"), "--output", str(tmp_path / "d.json")]
    assert main(words) == 1
    assert "name --role" in capsys.readouterr().out
    assert not (tmp_path / "d.json").exists()
    assert main([*words, "--role", "normal"]) == 0


def test_command_refuses_to_call_lesions_normal(tmp_path, capsys):
    scan(tmp_path / "patient01" / "FLAIR.nii.gz")
    scan(tmp_path / "patient01" / "consensus_gt.nii.gz")
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "d.json"), "--role", "normal"]
    assert main(words) == 1
    assert "cannot be a normal scan" in capsys.readouterr().err


def test_a_lesion_without_mask_says_so_and_a_subject_stays_a_name(tmp_path):
    scan(tmp_path / "patient01" / "FLAIR.nii.gz")
    scan(tmp_path / "patient02" / "FLAIR.nii.gz")
    scan(tmp_path / "patient02" / "consensus_gt.nii.gz")
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "dataset.json")]
    assert main(words) == 0
    first, second = load_datalist(tmp_path / "dataset.json", "test_lesion")
    # beside dataset.json lies a folder of the subject's name, which MONAI would take for a path
    assert (first["subject"], first["scan_label"]) == ("patient01", 1)
    assert Path(first["image"]).is_absolute()
    assert "scan_label" not in second
    assert Path(second["label"]).is_file()


def test_real_ixi():
    report = read_layout(real("ixi_t1/stripped"))
    assert (report.layout, len(report), report.left_out) == ("ixi", 72, [])
    assert {e.site for e in report} == {"HH"}


def test_real_mslub():
    report = read_layout(real("mslub"), sequences=["flair", "t1", "t2"])
    assert [e.subject for e in report] == ["patient07", "patient19"]
    assert all(len(e.images) == 3 and e.label is not None for e in report)


def test_real_isles():
    folder = real("isles22")
    assert read_layout(folder).entries[0].label is None  # the FLAIR is not on the mask's grid
    report = read_layout(folder, sequences=["dwi", "adc"])
    assert [(e.subject, e.session, e.role) for e in report] == [("strokecase0009", "0001", "lesion")]
    assert report.entries[0].label is not None


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        ("{}.nii.gz", "{}_seg.nii.gz"),
        ("images/{}.nii.gz", "masks/{}.nii.gz"),
        ("{}/flair.nii.gz", "{}/flair_mask.nii.gz"),
    ],
)
def test_masks_are_no_scans(tmp_path, image, mask):
    for name in ("p1", "p2", "p3"):
        scan(tmp_path / image.format(name))
        scan(tmp_path / mask.format(name))
    report = read_layout(tmp_path, "plain")
    assert [(e.role, e.label) for e in report] == [("lesion", tmp_path / mask.format(n)) for n in ("p1", "p2", "p3")]
    assert len({e.subject for e in report}) == 3
    assert sum("masks" in warning for warning in report.warnings) == 1
    with pytest.raises(CUASError, match="has a lesion"):
        settle_roles(report, "normal")
