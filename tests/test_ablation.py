# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of the paper's constraint: its rows are the presets, its figures are right, its tables are printed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FILE = Path(__file__).parents[1] / "benchmarks" / "real" / "ablation.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="needs the repository's benchmarks")


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("row", [0, 3, 4, 7, 8])
def test_a_row_is_its_preset_with_another_weight(ablation, row):
    name, (preset, weight, _, reduction) = list(ablation.ROWS.items())[row]
    network, loss, rate = ablation._parts(name)
    assert (loss.weight, loss.elbo.reduction) == (weight, reduction)
    assert network.sizes[0] == 96
    assert network.decoder_widths == [256, 128, 64, 32, 16]
    if preset == ablation.AMCONS:
        assert (loss.constraint.erosion, loss.constraint.of_batch, rate) == (3, True, 1e-4)
    else:
        assert (loss.constraint.p, network.training_sigmoid, rate) == (0.01, True, 1e-5)


def test_the_first_stage_is_computed_in_float32(ablation):
    network, _, _ = ablation._parts("AMCons 0.1 (the paper's)")
    with torch.autocast("cpu", torch.bfloat16):
        made = network.train()(torch.rand(2, 1, 96, 96))
    assert made["attention"].dtype == torch.float32
    assert made["reconstruction"].dtype == torch.bfloat16


def test_figures_of_a_map_that_ranks_perfectly(ablation):
    label = np.zeros((12, 20, 20), dtype=bool)
    label[4:7, 5:9, 5:9] = True
    inside = np.ones_like(label)
    judge = ablation._Judge(threshold=0.5)
    judge.add(np.where(label, 1.0, 0.1), inside, label, slice(1, 11))
    judge.add(np.where(label, 1.0, 0.1), inside, label, slice(8, 18))
    figures = judge.figures()
    assert figures["all"]["auprc"] == figures["all"]["dice"] == figures["all"]["oracle_dice"] == 1.0
    assert figures["ten"]["auprc"] == 1.0
    assert figures["slice_auroc_std"] == figures["slice_auroc_top"] == 1.0
    assert figures["patient_auprc"][0] == 1.0
    # the lesion that is cut off is missed: half of it by the first of two columns
    cut = np.where(np.arange(20) < 7, ablation._CUT_OFF, np.where(label, 1.0, 0.1))
    judge = ablation._Judge(threshold=0.5)
    judge.add(cut, inside, label, slice(0, 10))
    assert judge.figures()["all"]["dice"] == pytest.approx(2 / 3)
    assert judge.figures()["all"]["auprc"] < 0.6


def test_tables_and_rows_that_are_there_already(ablation, tmp_path, capsys, monkeypatch):
    figures = {"lgg": {p: dict.fromkeys(("auprc", "dice", "oracle_dice"), 0.5) for p in ("all", "ten")}}
    figures["lgg"] |= {"patient_auprc": [0.5, 0.4, 0.6], "patient_dice": [0.5, None, None]}
    figures["lgg"] |= {"slice_auroc_std": 0.5, "slice_auroc_top": 0.25}
    row = {"sequence": "t1", "row": "AMCons 0", "steps": 20, "figures": {"map": figures}, "entropy": 0.75}
    row |= {"mean_attention": 0.5, "map_std": 0.1}
    for seed in (0, 1):
        ablation._append(tmp_path, {**row, "seed": seed, "loss": float("nan")})
    assert [json.loads(line)["loss"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [None, None]
    monkeypatch.setattr(sys, "argv", ["ablation.py", "table", "--output", str(tmp_path)])
    ablation.main()
    printed = capsys.readouterr().out
    assert "| AMCons 0 | 20 | 2 | 0.500 ± 0.000 | - | - | 0.500 ± 0.000 |" in printed
    assert "0.500 (0.400 to 0.600)" in printed
    assert "| AMCons 0 | 20 | 0.75000 ± 0.00000 |" in printed
