# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What benchmarks/kills.py compares; the campaign itself takes minutes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(folder: Path, weight: float = 1.0, volume: str = "3.5", seconds: str = "0.1") -> Path:
    """What a run leaves, as small as can be."""
    for name in ("inference", "evaluation"):
        (folder / name).mkdir(parents=True)
    tensors = {"weight": torch.tensor([weight])}
    torch.save({"model": tensors, "recipe": {"a": 1}, "calibration": {}}, folder / "model.pt")
    (folder / "model_calibration.json").write_text("{}")
    (folder / "inference" / "results.csv").write_text(f"name,volume,seconds\ns,{volume},{seconds}\n")
    (folder / "evaluation" / "evaluation.md").write_text("table")
    return folder


def test_kills_fall_into_every_stage(kills):
    assert {stage for (stage,) in kills.planned(20)} == set(kills.STAGES)
    runs = kills.planned(20, per_run=7)
    assert [len(stages) for stages in runs] == [7, 7, 6]
    assert sorted(sum(runs, [])) == sorted(sum(kills.planned(20), []))
    order = list(kills.STAGES)
    assert all(stages == sorted(stages, key=order.index) for stages in runs)


def test_any_difference_but_of_seconds_is_seen(kills, tmp_path):
    whole = kills.outcome(_run(tmp_path / "a"))
    assert not kills.differing(whole, kills.outcome(_run(tmp_path / "b", seconds="9.9")))
    assert kills.differing(whole, kills.outcome(_run(tmp_path / "c", volume="3.6"))) == ["inference/results.csv"]
    assert "model.pt: weight" in kills.differing(whole, kills.outcome(_run(tmp_path / "d", weight=1.0000001)))
    more = _run(tmp_path / "e")
    (more / "inference" / "old_mask.nii.gz").write_bytes(b"stale")
    assert kills.differing(whole, kills.outcome(more)) == ["inference/old_mask.nii.gz"]
