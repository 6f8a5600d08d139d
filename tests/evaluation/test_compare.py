# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json
import logging
import math
import re
from pathlib import Path

import pytest

from monai_cuas.bundle import DEFAULT_METHOD, parse_overrides
from monai_cuas.cli import main
from monai_cuas.evaluation.compare import Comparison, _remaining
from monai_cuas.evaluation.report import gather, mean_and_std, write_report
from monai_cuas.phantom import make_phantom_cohort
from monai_cuas.utils import CUASError

CONFIG = str(Path(__file__).parents[2] / "bundles" / "cuas" / "configs" / "train.json")
VAE = str(Path(CONFIG).parent / "methods" / "vae.json")
TINY = {
    **{"epochs": 1, "middle_slices": 2, "image_size": 32, "channels": [4, 8], "layers": [1, 1], "latent_size": 4},
    "features": [4, 4, 8, 8, 8, 4],
    **{"device": "cpu", "amp": False, "min_scans": 1},
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> str:
    pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")
    index = make_phantom_cohort(tmp_path_factory.mktemp("phantom"), normals=7, lesions=2, spacing=6.0, progress=False)
    return str(Path(index).parent)


@pytest.fixture(scope="module")
def compared(phantom, tmp_path_factory) -> Path:
    """The command on two methods with two seeds."""
    folder = tmp_path_factory.mktemp("comparison")
    tiny = [part for key, value in TINY.items() for part in (f"--{key}", json.dumps(value))]
    arguments = ["compare", "--config_file", CONFIG, "--methods", "vae", "raw_intensity", "--seeds", "0", "1"]
    assert main([*arguments, "--output_dir", str(folder), "--dataset_dir", phantom, *tiny]) == 0
    return folder


def _again(phantom, folder, methods=("vae", "raw_intensity"), seeds=(0, 1), retrain=False, **changes) -> Comparison:
    overrides = {**TINY, "device": "cpu", **changes}
    return Comparison([CONFIG], methods, seeds, folder, phantom, overrides, retrain)


def test_table_has_each_method_seeds_and_costs(compared):
    report = json.loads((compared / "comparison.json").read_text())
    assert set(report["methods"]) == {"vae", "raw_intensity"}
    vae, raw = report["methods"]["vae"], report["methods"]["raw_intensity"]
    assert set(vae["seeds"]) == {"0", "1"}
    values = [run["groups"]["all lesions"]["auprc"] for run in vae["seeds"].values()]
    assert values[0] != values[1]
    assert vae["mean"]["all lesions"]["auprc"] == pytest.approx(sum(values) / 2)
    assert vae["std"]["all lesions"]["auprc"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
    assert raw["std"]["all lesions"]["auprc"] == 0
    assert vae["mean"]["cost"]["parameters"] > 0
    assert raw["mean"]["cost"]["parameters"] == 0
    assert vae["mean"]["cost"]["seconds_per_volume"] > 0
    assert vae["mean"]["cost"]["peak_mb"] > 50
    text = (compared / "comparison.md").read_text()
    assert "oracle Dice" in text
    assert "| VAE | 2 |" in text
    assert "## By lesion" in text
    assert "## Over patients" in text
    test = report["against_baselines"]["vae"]["raw_intensity"]["dice"]
    dice = [
        [sum(seed["patients"][k]["dice"] for seed in method["seeds"].values()) / 2 for k in range(2)]
        for method in (vae, raw)
    ]
    assert test["n_patients"] == 2
    assert test["difference"] == pytest.approx((sum(dice[0]) - sum(dice[1])) / 2)
    assert test["p"] is None or math.isnan(test["p"])  # of two patients
    assert "Failed" not in text
    with open(compared / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    row = {"method": "vae", "seed": "0", "group": "all lesions", "metric": "auprc", "value": str(values[0])}
    assert row in rows
    for name in ("panel.png", "precision_recall.png"):
        assert (compared / name).stat().st_size > 5000


def test_a_log_of_the_command_has_no_bars_and_no_warnings(phantom, tmp_path, capfd):
    tiny = [part for key, value in TINY.items() for part in (f"--{key}", json.dumps(value))]
    arguments = ["compare", "--config_file", CONFIG, "--methods", "ae", "--output_dir", str(tmp_path / "out")]
    # a command's own process has no handlers of other tests, whose streams pytest has closed
    for name in [None, *logging.root.manager.loggerDict]:
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if getattr(getattr(h, "stream", None), "closed", False)]:
            logger.removeHandler(handler)
    assert main([*arguments, "--dataset_dir", phantom, *tiny]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out[: out.index("# ")].splitlines()
    assert [line for line in lines if line][:3] == [
        "1 runs: 0 done, 1 remain.",
        "[1/1] ae, seed 0: training ...",
        "[1/1] ae, seed 0: calibration and evaluation ...",
    ]
    assert "\r" not in out
    assert "Logging file" not in out


def test_what_remains_is_reckoned_by_method():
    assert _remaining(["slow", "quick", "new"], [("slow", 100.0), ("quick", 2.0)]) == pytest.approx(100 + 2 + 51)
    assert _remaining([], [("slow", 100.0)]) == 0


def test_what_is_done_is_not_done_again(compared, phantom, monkeypatch):
    again = _again(phantom, compared)
    assert {again.state(run) for run in again.runs} == {"done"}
    monkeypatch.setattr(Comparison, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(Comparison, "score", lambda *_: pytest.fail("scored again"))
    lines: list[str] = []
    again.run(write_report, lines.append)
    assert lines == ["4 runs: 4 done, 0 remain."]


def test_changed_settings_are_never_reused_in_silence(compared, phantom):
    longer = _again(phantom, compared, epochs=2)
    with pytest.raises(CUASError, match=r"other settings \(epochs\)"):
        longer.state(longer.runs[0])
    retrain = _again(phantom, compared, epochs=2, retrain=True)
    assert retrain.state(retrain.runs[0]) == "train"
    # what is set at inference alone needs no training
    rate = _again(phantom, compared, rate=0.02)
    assert {rate.state(run) for run in rate.runs} == {"score"}
    # for one method alone
    one = _again(phantom, compared, **{"vae:median_radius": 1})
    assert [one.state(run) for run in one.runs] == ["score", "done", "score", "done"]


def test_changed_data_are_another_run(compared, phantom, tmp_path):
    (tmp_path / "dataset.json").write_text(Path(phantom, "dataset.json").read_text() + " ")
    moved = Comparison([CONFIG], ["vae"], [0], compared, str(tmp_path), TINY)
    with pytest.raises(CUASError, match="dataset"):
        moved.state(moved.runs[0])


def test_a_killed_training_is_resumed(phantom, tmp_path):
    whole, killed = (_again(phantom, tmp_path / name, ["vae"], [0], epochs=2) for name in ("whole", "killed"))
    whole.train(whole.runs[0], resume=False)
    run = killed.runs[0]
    short = _again(phantom, tmp_path / "killed", ["vae"], [0], epochs=1)
    short.train(run, resume=False)
    record = json.loads((run.folder / "comparison_run.json").read_text())
    # as it stands while the second of two epochs is trained
    record = {"train": killed._train_settings(run), "train_seconds": record["train_seconds"]}
    (run.folder / "comparison_run.json").write_text(json.dumps(record))
    assert killed.state(run) == "resume"
    killed.train(run, resume=True)
    assert (run.folder / "checkpoints" / "checkpoint_2.pt").is_file()
    assert killed.state(run) == "score"
    import torch

    ours, theirs = (torch.load(c.runs[0].folder / "model.pt", weights_only=True)["model"] for c in (whole, killed))
    assert all(torch.equal(ours[key].nan_to_num(-1), theirs[key].nan_to_num(-1)) for key in ours)


def test_one_failure_does_not_stop_the_others(phantom, tmp_path):
    overlay = tmp_path / "broken.json"
    overlay.write_text(json.dumps({"base": VAE, "method": "broken", "loss": {"_target_": "torch.nn.NoSuchLoss"}}))
    comparison = _again(phantom, tmp_path / "out", [str(overlay), "raw_intensity"], [0])
    lines: list[str] = []
    comparison.run(write_report, lines.append)
    # a line for each stage, and what remains
    assert lines[0] == "2 runs: 0 done, 2 remain."
    assert lines[1] == "[1/2] broken, seed 0: training ..."
    assert re.match(
        r"\[1/2\] broken, seed 0: FAILED: .* \(0:00:\d\d elapsed; 1 runs remain, about 0:00:\d\d\)", lines[2]
    )
    assert lines[3:5] == [
        "[2/2] raw_intensity, seed 0: training ...",
        "[2/2] raw_intensity, seed 0: calibration and evaluation ...",
    ]
    assert re.match(r"\[2/2\] raw_intensity, seed 0: done in .*; 0 runs remain, about 0:00:00\)", lines[5])
    assert len(lines) == 6
    assert list(comparison.failed) == ["broken, seed 0"]
    report = gather(comparison)
    assert list(report["methods"]) == ["raw_intensity"]
    assert report["missing"] == ["broken, seed 0"]
    assert "broken, seed 0: " in (tmp_path / "out" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["ae", "vea"]}, "no method 'vea'"),
        ({"overrides": {"epoch": 2}}, r"did you mean 'epochs'\?"),
        ({"overrides": {"ae:epochs": 2}}, "not compared here"),
        ({"overrides": {"seed": 2}}, "sets 'seed' itself"),
        ({"config_files": ["nowhere.json"]}, "no such config"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, changes, words):
    arguments = {"config_files": [CONFIG], "methods": ["vae"], "seeds": [0], "dataset_dir": "x", "overrides": {}}
    with pytest.raises(CUASError, match=words):
        Comparison(**{**arguments, **changes, "output_dir": tmp_path})


def test_all_methods_and_two_of_one_name(tmp_path):
    known = [DEFAULT_METHOD, *sorted(path.stem for path in (Path(CONFIG).parent / "methods").glob("*.json"))]
    everything = Comparison([CONFIG], ["all", "vae"], [0, 1], tmp_path, "x")
    assert [run.method for run in everything.runs] == known * 2
    assert {run.seed for run in everything.runs[: len(known)]} == {0}
    (tmp_path / "vae.json").write_text("{}")
    with pytest.raises(CUASError, match="Two of the methods are named 'vae'"):
        Comparison([CONFIG], ["vae", str(tmp_path / "vae.json")], [0], tmp_path, "x")


def test_overrides_are_read_as_values():
    text = ["--epochs", "2", "--channels=[4, 8]", "--resize", "false", "--vae:latent", "spatial", "--window", "null"]
    expected = {"epochs": 2, "channels": [4, 8], "resize": False, "vae:latent": "spatial", "window": None}
    assert parse_overrides(text) == expected
    for bad in (["epochs"], ["--epochs"]):
        with pytest.raises(CUASError, match="cannot be read"):
            parse_overrides(bad)


def test_other_commands_take_no_overrides(capsys):
    with pytest.raises(SystemExit):
        main(["phantom", "--output_dir", "x", "--nonsense", "1"])
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


def test_mean_and_std_by_hand():
    assert mean_and_std([1.0, None, 3.0, math.nan]) == pytest.approx((2.0, math.sqrt(2)))
    assert mean_and_std([4.0])[0] == 4.0
    assert math.isnan(mean_and_std([4.0])[1])
    assert all(math.isnan(v) for v in mean_and_std([None]))
