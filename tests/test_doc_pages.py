# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The pages that a new user follows are followed: their commands run, one after the other, on a tiny phantom."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import pytest

from monai_cuas import load_model
from monai_cuas.cli import main

from .bundle.conftest import TINY
from .doc_commands import ROOT, Command, commands

pytestmark = pytest.mark.slow
_TINY = {key: value for key, value in TINY.items() if key not in ("after_training", "device")}
# what a test adds so that a command is done in seconds
SHORT = {
    "phantom": {"spacing": 6, "normals": 16},
    "train": {**_TINY, "device": "cpu"},
    "infer": {"device": "cpu"},
    "calibrate": {"device": "cpu"},
    "evaluate": {"device": "cpu"},
}


def _run(command: Command, more: dict | None = None) -> None:
    name, *rest = command.words[1:]
    given = {**SHORT.get(name, {}), **(more or {})}
    added = [part for key, value in given.items() for part in (f"--{key}", json.dumps(value))]
    assert main([name, *rest, *[part.strip('"') for part in added]]) == 0, str(command)


def _of(page: str) -> list[Command]:
    return [c for c in commands(ROOT / page) if c.words[0] == "monai_cuas" and "--help" not in c.words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder after the first page: COHORT and RESULTS; beside them what the other pages name."""
    pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")
    place = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make, first, own = _of("docs/start.md")[:3]
        _run(make)
        for name, kind in (("NORMALS", "N"), ("PATIENTS", "L")):
            Path(name, "labels").mkdir(parents=True)
            for scan in Path("COHORT").glob(f"sub-{kind}*/anat/*.nii.gz"):
                shutil.copy(scan, name)
        for mask in Path("COHORT", "derivatives").rglob("*mask.nii.gz"):
            shutil.copy(mask, Path("PATIENTS", "labels", mask.name.replace("_mask", "").replace("_label-lesion", "")))
        shutil.copy(next(Path("COHORT").glob("sub-L0002/anat/*.nii.gz")), "SCAN.nii.gz")
        _run(first)
        _run(own)
    return place


def _rows(results: Path) -> list[dict]:
    with open(results / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_five_minutes_end_in_a_finding(folder):
    assert [row["name"] for row in _rows(folder / "RESULTS")][-1] == "SCAN"
    for kind in ("anomaly", "mask"):
        made, scan = (nib.load(folder / name) for name in (f"RESULTS/SCAN_{kind}.nii.gz", "SCAN.nii.gz"))
        assert made.shape == scan.shape
    assert (folder / "RESULTS" / "SCAN_overlay.png").stat().st_size > 1000


def test_the_page_of_own_normals(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    of_page = _of("docs/how-to/own-normals.md")
    steps = [step for step in of_page if "--start_from" not in step.words]
    assert [c.words[1] for c in steps] == ["datalist", "train", "infer", "datalist", "evaluate"]
    for step in steps:
        _run(step)
    assert "monai_cuas infer SCAN --model RUN/model.pt" in capsys.readouterr().out
    model = load_model("RUN/model.pt", "cpu")
    assert model.calibration["n_scans"] >= 3
    lists = json.loads(Path("DATA/dataset.json").read_text())
    assert len(lists["test_lesion"]) == 2
    figures = json.loads(Path("EVALUATION/evaluation.json").read_text())
    assert figures["failed"] == []
    # a network as small as this page's starts from one as small
    other = {"phantom": "RUN/model.pt", "flair": "RUN/model.pt", "RUN": "TUNED"}
    for step in of_page:
        if step not in steps:
            _run(Command(step.page, tuple(other.get(word, word) for word in step.words), ""))
            assert load_model("TUNED/model.pt", "cpu").recipe.network == model.recipe.network


def test_the_page_of_the_threshold(folder, monkeypatch):
    monkeypatch.chdir(folder)
    shipped = load_model("phantom", "cpu")
    steps = _of("docs/how-to/threshold.md")
    for step in steps:
        _run(step)
    words = [step.words for step in steps if step.words[1] == "calibrate"][-1]
    mine = load_model(words[words.index("--output" if "--output" in words else "--model") + 1], "cpu")
    assert mine.calibration["n_scans"] == 16
    assert mine.calibration["thresholds"] != shipped.calibration["thresholds"]
    # the page's last command took the place of the one before
    assert {row["name"]: row["threshold"] for row in _rows(folder / "RESULTS")}["SCAN"] == "guaranteed"


def test_the_page_of_own_methods(folder, monkeypatch):
    monkeypatch.chdir(folder)
    page = (ROOT / "docs" / "how-to" / "add-method.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0]
    Path("small_vae.json").write_text(example)
    train = next(c for c in _of("docs/how-to/add-method.md") if c.words[1] == "train")
    words = tuple({"DATA": "COHORT", "RUN": "RUN_VAE"}.get(word, word) for word in train.words)
    _run(Command(train.page, words, ""), {"layers": [1, 1, 1], "latent_size": 4, "after_training": []})
    assert load_model("RUN_VAE/model.pt", "cpu").method == "VAE, small"
