# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_cuas.cli import main
from monai_cuas.data.datalist import assign_parts
from monai_cuas.data.layouts import ScanEntry, read_layout
from monai_cuas.data.splits import RECIPES, load_split, save_split, split_subjects
from monai_cuas.utils import CUASError

from ..folders import reasons, scan


def case(folder: Path, name: str, ends=("_flair", "_t1", "_t1ce", "_t2", "_seg")) -> Path:
    for end in ends:
        scan(folder / name / f"{name}{end}.nii.gz")
    return folder / name


def test_brats2019(tmp_path):
    case(tmp_path / "HGG", "BraTS19_CBICA_AAB_1")
    case(tmp_path / "HGG", "BraTS19_TCIA01_147_2")
    case(tmp_path / "LGG", "BraTS19_2013_10_1", ("_flair", "_seg"))
    report = read_layout(tmp_path, sequences=["T1", "flair"])
    assert report.layout == "brats2019"
    assert [(e.subject, e.session, e.site, e.extra["kind"], e.role) for e in report] == [
        ("BraTS19_CBICA_AAB", "1", "CBICA", "high-grade glioma", "lesion"),
        ("BraTS19_TCIA01_147", "2", "TCIA01", "high-grade glioma", "lesion"),
    ]
    assert [p.name for p in report.entries[0].images] == [
        "BraTS19_CBICA_AAB_1_t1.nii.gz",
        "BraTS19_CBICA_AAB_1_flair.nii.gz",
    ]
    assert report.entries[0].label.name == "BraTS19_CBICA_AAB_1_seg.nii.gz"
    assert reasons(report) == {"BraTS19_2013_10_1": "no t1 (has flair)"}
    (only,) = [e for e in read_layout(tmp_path, "brats2019") if e.subject == "BraTS19_2013_10"]
    assert (only.extra["kind"], only.site) == ("low-grade glioma", "2013")


def test_brats2020_and_2021(tmp_path):
    odd = case(tmp_path / "2020" / "MICCAI_BraTS2020_TrainingData", "BraTS20_Training_355", ("_flair",))
    scan(odd / "W39_1998.09.19_Segm.nii")
    report = read_layout(tmp_path / "2020")
    assert (report.layout, report.entries[0].subject) == ("brats2020", "BraTS20_Training_355")
    assert report.entries[0].label == odd / "W39_1998.09.19_Segm.nii"
    case(tmp_path / "2021", "BraTS2021_00000")
    case(tmp_path / "2021", "BraTS2021_00002", ("_flair",))
    report = read_layout(tmp_path / "2021")
    assert (report.layout, [e.subject for e in report]) == ("brats2021", ["BraTS2021_00000", "BraTS2021_00002"])
    assert report.warnings == ["1 cases have no mask; they count for the detection of scans only."]


def test_brats2023_names_sequences_anew_and_knows_visits(tmp_path):
    ends = ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")
    for name in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-MET-00010-000"):
        case(tmp_path, name, ends)
    report = read_layout(tmp_path, sequences=["t2f", "t1ce"])
    assert report.layout == "brats2023"
    assert [(e.subject, e.session, e.extra["kind"]) for e in report] == [
        ("BraTS-GLI-00005", "000", "glioma"),
        ("BraTS-GLI-00005", "001", "glioma"),
        ("BraTS-MET-00010", "000", "metastasis"),
    ]
    assert [p.name[-10:] for p in report.entries[0].images] == ["t2f.nii.gz", "t1c.nii.gz"]
    with pytest.raises(CUASError, match="no sequence 'pd'"):
        read_layout(tmp_path, sequences=["pd"])


@pytest.mark.parametrize("layout", ["brats2019", "brats2020", "brats2021", "brats2023"])
def test_another_year_is_refused_in_one_sentence(tmp_path, layout):
    names = {"brats2019": "BraTS2021_00000", "brats2020": "BraTS19_2013_0_1"}
    case(tmp_path, names.get(layout, "BraTS20_Training_001"))
    with pytest.raises(CUASError, match=f"no scan of the layout '{layout}' found, expected"):
        read_layout(tmp_path, layout)


def _patients(n: int) -> list[ScanEntry]:
    """Cases in memory; every tenth patient was scanned twice."""
    return [
        ScanEntry((Path(f"/p{k}_{visit}.nii.gz"),), f"p{k}", "lesion", Path(f"/p{k}_{visit}_seg.nii.gz"))
        for k in range(n)
        for visit in range(2 if k % 10 == 0 else 1)
    ]


def test_the_papers_split_is_by_patient(tmp_path):
    """271 train, 32 validate (half of them calibrate), 32 test."""
    entries = _patients(335)
    fractions, parts, _ = RECIPES["brats2019_paper"]
    split = split_subjects([e.subject for e in entries], fractions, parts, seed=0)
    save_split(split, tmp_path / "split.json", 0)
    lists = assign_parts(entries, load_split(tmp_path / "split.json"))
    patients = {part: {e.subject for e in scans} for part, scans in lists.items()}
    assert {part: len(names) for part, names in patients.items()} == {
        "training": 271, "calibration": 16, "validation": 16, "test_normal": 0, "test_lesion": 32
    }  # fmt: skip
    assert sum(len(scans) for scans in lists.values()) == len(entries) > 335
    assert len(set.union(*patients.values())) == 335  # nobody is in two parts
    assert split_subjects([e.subject for e in entries][::-1], fractions, parts, seed=0) == split
    assert split_subjects([e.subject for e in entries], fractions, parts, seed=1) != split


def test_too_few_patients_for_the_papers_split(tmp_path, capsys):
    case(tmp_path / "HGG", "BraTS19_CBICA_AAB_1")
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "d.json")]
    assert main([*words, "--recipe", "brats2019_paper"]) == 1
    assert capsys.readouterr().err == "The split asks for 335 subjects, but there are 1; ask for fewer.\n"
    assert main([*words, "--recipe", "nonsense"]) == 1
    assert "choose from brats2019_paper" in capsys.readouterr().err


def test_command_trains_on_lesion_free_slices_only_if_asked(tmp_path, capsys):
    for k in range(6):
        case(tmp_path / "HGG", f"BraTS19_CBICA_A{k}_1", ("_flair", "_seg"))
    case(tmp_path / "HGG", "BraTS19_CBICA_A6_1", ("_flair",))
    words = ["datalist", "--input", str(tmp_path), "--output", str(tmp_path / "d.json")]

    def parts():
        content = json.loads((tmp_path / "d.json").read_text())
        return [len(content[k]) for k in ("training", "calibration", "validation", "test_normal", "test_lesion")]

    assert main(words) == 0
    assert parts() == [0, 0, 0, 0, 7]
    split = ["--split_file", str(tmp_path / "split.json")]
    assert main([*words, "--lesion_free_slices", "--split", "3", "1", "1", "1", *split]) == 0
    assert parts() == [3, 1, 1, 0, 1]
    # a lesion whose place nobody drew: no slice of it is known to be free of it
    assert "a lesion without mask" in capsys.readouterr().out
    training = json.loads((tmp_path / "d.json").read_text())["training"]
    assert all("label" in entry for entry in training)
    assert main([*words, *split, "--seed", "9"]) == 0  # the file tells that it is a split of patients
    assert json.loads((tmp_path / "d.json").read_text())["training"] == training


def test_scans_of_the_test_folder_are_never_trained_on(tmp_path):
    entries = _patients(4)
    again = ScanEntry((Path("/other.nii.gz"),), "p1", "lesion", Path("/other_seg.nii.gz"), part="test")
    split = {"training": ["p0", "p1"], "calibration": ["p2"], "validation": [], "test_lesion": ["p3"]}
    lists = assign_parts([*entries, again], split)
    assert [e.subject for e in lists["training"]] == ["p0", "p0"]
    assert [e.subject for e in lists["test_lesion"]] == ["p1", "p3", "p1"]
    assert np.all([e.subject != "p1" for e in lists["training"]])
