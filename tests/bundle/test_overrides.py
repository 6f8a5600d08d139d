# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_cuas.bundle import (
    check_overrides,
    method_overlays,
    refuse_unknown,
    require_writable,
    with_bases,
)
from monai_cuas.shipped import packaged_bundle
from monai_cuas.utils import CUASError, ScanError, replacing, user_message


def _half_written(path) -> None:
    path.write_text("half")
    raise FileNotFoundError


RUNNER = "/site-packages/monai/bundle/__main__.py"


@pytest.fixture
def config(tmp_path) -> str:
    path = tmp_path / "configs" / "train.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"epochs": 3, "train": {"max": "@epochs", "extra": "@used_only"}}))
    return str(path)


@pytest.mark.parametrize("override", [["--epochs", "2"], ["--train#max=2"], ["--used_only", "1"], ["--run_id", "x"]])
def test_known_overrides_pass(config, override):
    check_overrides([RUNNER, "run", "training", "--config_file", config, *override])


@pytest.mark.parametrize("override", [["--epoch", "2"], ["--epoch=2"], ["--epoch#max", "2"]])
def test_misspelt_override_is_refused_with_a_hint(config, override):
    with pytest.raises(CUASError, match=r"'epoch' \(did you mean 'epochs'\?\)"):
        check_overrides([RUNNER, "run", "training", f"--config_file={config}", *override])


@pytest.mark.parametrize(("asked", "write"), [("false", "False"), ("null", "None")])
def test_words_that_would_count_as_true_are_refused(config, asked, write):
    for override in (["--epochs", asked], [f"--epochs={asked}"]):
        with pytest.raises(CUASError, match=f"'--epochs {asked}' would be text.*write '--epochs {write}'"):
            check_overrides([RUNNER, "run", "training", "--config_file", config, *override])
    check_overrides([RUNNER, "run", "training", "--config_file", config, "--epochs", write])


def test_foreign_overlay_is_checked(config, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("epochs: 4\nbatchsize: 2\n")
    with pytest.raises(CUASError, match="'batchsize'"):
        check_overrides([RUNNER, "run", "--config_file", f"['{config}','{overlay}']"])


def test_a_file_without_its_base_is_refused(config, tmp_path):
    overlay = tmp_path / "configs" / "methods" / "amcons.json"
    overlay.parent.mkdir()
    (overlay.parent / "vae.json").write_text("{}")
    overlay.write_text(json.dumps({"base": "vae.json", "epochs": 6}))
    base = str(overlay.parent / "vae.json")
    with pytest.raises(CUASError, match=r"amcons.json builds on .*vae.json; name that file before it"):
        check_overrides([RUNNER, "run", f"--config_file=['{config}','{overlay}']"])
    with pytest.raises(CUASError, match="builds on"):
        check_overrides([RUNNER, "run", f"--config_file=['{config}','{overlay}','{base}']"])
    check_overrides([RUNNER, "run", f"--config_file=['{config}','{base}','{overlay}']"])
    assert with_bases(str(overlay)) == [base, str(overlay)]


def test_a_users_file_builds_on_the_bundles_from_anywhere(tmp_path, monkeypatch):
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"base": "vae.json", "method": "VAE, small", "channels": [16, 32, 64]}))
    monkeypatch.chdir(tmp_path)
    files = method_overlays("mine.json")
    assert files == ["methods/vae.json", str(mine)]
    configs = Path(packaged_bundle()) / "configs"
    paths = [str(configs / name) for name in ("train.json", *files)]
    # its ids are vae.json's and its base is no id of its own
    assert refuse_unknown(paths, {"latent_size": 8}) == {"latent_size": 8}
    mine.write_text(json.dumps({"base": "none.json"}))
    with pytest.raises(CUASError, match=r"mine.json builds on .*none.json, which is not there"):
        method_overlays("mine.json")


def test_other_programs_pass(config):
    check_overrides(["/usr/bin/pytest", "run", "--config_file", config, "--epoch", "2"])


def test_user_message_digs_through_causes():
    wrapped = RuntimeError("applying transform")
    wrapped.__cause__ = ScanError("a.nii.gz", "is empty", "leave it out")
    assert user_message(wrapped) == "a.nii.gz: is empty; leave it out."
    assert user_message(KeyError("x")) is None


def test_files_are_whole_or_absent(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.json") as temporary:
        _half_written(temporary)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(CUASError, match="cannot write"):
        require_writable(tmp_path / "file" / "below")
