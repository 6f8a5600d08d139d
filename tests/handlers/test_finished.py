# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_cuas.handlers import FinishedScans, remove_results
from monai_cuas.handlers.dicom_seg_saver import NOT_DICOM


@pytest.fixture
def entry(tmp_path):
    (tmp_path / "a.mhd").write_bytes(b"ElementDataFile = a.raw")
    (tmp_path / "a.raw").write_bytes(b"voxels")
    return {"image": str(tmp_path / "a.mhd"), "name": "a"}


def test_a_key_is_of_settings_and_of_every_file(tmp_path, entry):
    finished = FinishedScans(tmp_path, made_with=["weights", 0.01])
    key = finished.key(entry)
    assert key == FinishedScans(tmp_path, made_with=["weights", 0.01]).key(dict(entry))
    assert key != FinishedScans(tmp_path, made_with=["weights", 0.02]).key(entry)
    assert key == finished.key({**entry, "name": "another"})
    assert key != finished.key({**entry, "image_channels": [0]})
    (tmp_path / "a.raw").write_bytes(b"voxelx")
    assert key != finished.key(entry)


def test_a_scan_that_is_gone_has_a_key_too_and_nothing_is_done_without_a_table(tmp_path, entry):
    finished = FinishedScans(tmp_path / "none", skip=True)
    gone = {"image": str(tmp_path / "gone.nii.gz"), "name": "gone"}
    assert [e["name"] for e in finished.unfinished([entry, gone])] == ["a", "gone"]
    assert all(len(e["made_with"]) == 16 for e in finished.unfinished([entry, gone]))


def test_a_row_is_done_if_every_file_that_it_names_is_there(tmp_path, entry):
    finished = FinishedScans(tmp_path, skip=True)
    for kind in ("anomaly.nii.gz", "mask.nii.gz", "overlay.png"):
        (tmp_path / f"a_{kind}").touch()

    def left(segmentation: str) -> int:
        row = f"name,made_with,dicom_seg\na,{finished.key(entry)},{segmentation}\n"
        (tmp_path / "results.csv").write_text(row)
        return len(finished.unfinished([entry]))

    assert left("") == left(NOT_DICOM) == 0
    assert left("a_seg.dcm") == left("none: the disk was full") == 1
    (tmp_path / "a_seg.dcm").touch()
    assert left("a_seg.dcm") == 0


def test_results_of_an_earlier_model_are_removed_and_nothing_else(tmp_path):
    made = ("a_anomaly.nii.gz", "a_mask.nii.gz", "a_overlay.png", "a_seg.dcm", "report.html", "evaluation.md")
    mine = ("a_label.nii.gz", "notes.txt", "b_mask.nii.gz")
    folder = tmp_path / "results"
    folder.mkdir()
    for name in (*made, *mine, "../outside_mask.nii.gz"):
        (folder / name).write_text(name)
    rows = ["name,dicom_seg", "a,a_seg.dcm", "../outside,none: no DICOM"]
    (folder / "results.csv").write_text("\n".join(rows))
    remove_results(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(mine)
    assert (tmp_path / "outside_mask.nii.gz").exists()
    remove_results(tmp_path / "nowhere")
