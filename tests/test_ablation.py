# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of the paper's constraint: its rows are the presets, its figures are right, its tables are printed."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from .benchmark_modules import FOLDER, benchmark

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's benchmarks")


@pytest.fixture(scope="module")
def ablation():
    with benchmark("ablation") as module:
        yield module


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


def test_tables_and_rows_that_are_there_already(ablation, tmp_path, capsys, monkeypatch):
    figures = {"lgg": {p: dict.fromkeys(("auprc", "dice", "oracle_dice"), 0.5) for p in ("all", "ten")}}
    figures["lgg"] |= {"patient_auprc": [0.5, 0.4, 0.6], "patient_dice": [0.5, None, None]}
    figures["lgg"] |= {"slice_auroc_std": 0.5, "slice_auroc_top": 0.25}
    row = {"figures": {"map": figures}, "entropy": 0.75, "mean_attention": 0.5, "map_std": 0.1}
    for seed in (0, 1):
        residual = {"residual": figures} if seed else {}
        ablation.Results(tmp_path, "t1").add("AMCons 0", seed, 20, **row, **residual, loss=float("nan"))
    assert [json.loads(line)["loss"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [None, None]
    monkeypatch.setattr(sys, "argv", ["ablation.py", "table", "--output", str(tmp_path)])
    ablation.main()
    printed = capsys.readouterr().out
    assert "| AMCons 0 | 20 | 2 | 0.500 ± 0.000 | - | - | 0.500 ± 0.000 |" in printed
    assert "| AMCons 0: VAE residual | 20 | 1 | 0.500 | - | - | 0.500 |" in printed
    assert "0.500 (0.400 to 0.600)" in printed
    assert "| AMCons 0 | 2 | 20 | 0.75000 ± 0.00000 |" in printed
    assert "MSLUB" not in printed


def test_curves_are_drawn_from_the_rows_that_were_followed(ablation, tmp_path, monkeypatch):
    points = [{"step": k, "entropy": 1 - k / 1e4, "mean_attention": 0.5, "auprc": 0.7 - k / 100} for k in (5, 10)]
    last = {"entropy": 0.99, "mean_attention": 0.6, "figures": {"map": {"lgg": {"all": {"auprc": 0.5}}}}}
    drawn = []
    monkeypatch.setattr(ablation, "save_figure", lambda figure, path, dpi: drawn.append(figure))
    arguments = ["ablation.py", "draw", "--output", str(tmp_path), "--sequence", "t1", "--picture", "x.png"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="no row with a curve"):
        ablation.main()
    results = ablation.Results(tmp_path, "t1")
    results.add(ablation.UNTRAINED, 0, 0, **last)
    results.add("AMCons 0", 0, 20, curve=points[::-1], **last)
    results.add("AMCons 0", 1, 20, curve=[{**p, "auprc": p["auprc"] + 0.1} for p in points], **last)
    ablation.Results(tmp_path, "flair").add("AMCons 0", 0, 20, curve=points, **last)
    ablation.main()
    panels = drawn[0].axes
    assert [panel.get_title() for panel in panels] == list(ablation._CURVES.values())
    curve, level = panels[2].lines
    assert curve.get_xdata().tolist() == [0, 5, 10, 20]
    assert curve.get_ydata().tolist() == pytest.approx([0.5, 0.7, 0.65, 0.5])
    assert curve.get_label() == "AMCons 0, 2 seeds"
    assert level.get_ydata()[0] == 0.5
