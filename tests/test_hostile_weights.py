# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A weights file from anywhere is refused in one sentence before it takes memory, time, or runs anything."""

from __future__ import annotations

import io
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from monai_cuas.networks import nets
from monai_cuas.recipe import read_model
from monai_cuas.utils import ScanError, as_plain

from .bundle.conftest import write_untrained

GIGABYTE = 1 << 30
READ = """
import sys
from monai_cuas.recipe import read_model
from monai_cuas.utils import CUASError
try:
    read_model(sys.argv[1])
except CUASError as error:
    print("refused:", error)
"""


@pytest.fixture
def file(tmp_path):
    return write_untrained(tmp_path / "model.pt", image_size=32, features=[4, 4, 4, 4, 4, 4])


def _refused(path: Path) -> str:
    """What a process of little memory and time says of a weights file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (6 * GIGABYTE, 6 * GIGABYTE))

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", READ, str(path)]
    run = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=240, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    (said,) = [line for line in run.stdout.splitlines() if line.startswith("refused:")]
    assert str(path) in said
    return said


def _change(file: Path, change) -> Path:
    document = torch.load(file, weights_only=True)
    change(document)
    torch.save(document, file)
    return file


def _stretched(document) -> None:
    """A network of 65536 channels, and tensors of one number each that claim to be its weights."""
    document["recipe"]["network"]["features"] = [65536] * 6
    with torch.device("meta"):
        network = nets.AnomalyUNet(**{k: v for k, v in document["recipe"]["network"].items() if k != "_target_"})
    document["model"] = {key: torch.zeros(()).expand(value.shape) for key, value in network.state_dict().items()}


def _cyclic(document) -> None:
    document["recipe"]["preprocessing"]["levels"] = endless = []
    endless.append(endless)


def _laughs(document) -> None:
    many = ["ha"]
    for _ in range(12):
        many = [many] * 12
    document["recipe"]["preprocessing"]["levels"] = many


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["recipe"]["network"].update(features=[65536] * 6), "do not fit the network"),
        (lambda d: d["recipe"]["network"].update(features=[10**12] * 6), "which none can have"),
        (lambda d: d["recipe"]["network"].update(image_size=10**9), "which none can have"),
        (lambda d: d["recipe"]["network"].update(windows=[5] * 10_000), "do not fit the network"),
        (_stretched, "do not fit the network"),
        (_cyclic, "nested too deeply"),
        (_laughs, "nested too deeply"),
    ],
)
def test_what_would_take_all_memory_is_refused(file, change, words):
    assert words in _refused(_change(file, change))


def test_an_archive_that_unpacks_to_more_than_it_is(file, tmp_path):
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("model/data/999", bytes(400 << 20))
    assert (tmp_path / "bomb.pt").stat().st_size < 2 << 20
    assert "no readable weights file" in _refused(tmp_path / "bomb.pt")


class _Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("place", ["model", "recipe", "calibration"])
def test_nothing_runs(file, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = torch.load(file, weights_only=True)
    torch.save({**document, place: {"x": _Runs()}}, file)
    with pytest.raises(ScanError, match="no readable weights file"):
        read_model(file)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Runs()))
    with pytest.raises(ScanError, match="no readable weights file"):
        read_model(tmp_path / "plain.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].update({1: torch.zeros(1)}),
        lambda d: d["model"].update({k: v.to_sparse() for k, v in d["model"].items() if v.ndim}),
        lambda d: d["model"].update({k: v.to(torch.complex64) for k, v in d["model"].items()}),
        lambda d: d["model"].update({k: v.to("meta") for k, v in d["model"].items()}),
        lambda d: d["recipe"].update(network=[1]),
        lambda d: d["recipe"].update({1: 2}),
        lambda d: d["recipe"]["network"].update(_target_=["a"]),
        lambda d: d["recipe"]["network"].update(_target_="$__import__('os').system('touch ran')"),
        lambda d: d["recipe"]["network"].update(_target_="monai.transforms.Lambda", func="$print"),
        lambda d: d["recipe"]["map_inferer"].update(_target_="monai.inferers.SaliencyInferer"),
        lambda d: d["recipe"]["preprocessing"].update(_target_="os.system"),
        lambda d: d["recipe"]["preprocessing"].update(preprocessing_cache="/tmp"),
        lambda d: d["recipe"]["preprocessing"].update(image_size=10**6),
        lambda d: d["recipe"]["preprocessing"].update(margin_mm=1e9),
        lambda d: d["recipe"]["preprocessing"].update(margin_mm=float("nan")),
        lambda d: d["recipe"]["map_inferer"].update(smoothing=1e9),
        lambda d: d["recipe"]["map_inferer"].update(smoothing=[float("nan")] * 3),
        lambda d: d["recipe"]["map_inferer"].update(roi_size=[60_000, 60_000]),
        lambda d: d["recipe"]["map_inferer"].update(roi_size=["a", None]),
        lambda d: d["recipe"].update(method={"a": 1}),
        lambda d: d.update(calibration={"recipe": torch.zeros(2)}),
    ],
)
def test_what_is_of_the_wrong_kind_is_one_sentence(file, change):
    _change(file, change)
    with pytest.raises(ScanError) as error:
        read_model(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ScanError, match="no readable weights file"):
        read_model(file)


def test_a_flipped_bit_is_noticed(file):
    content = bytearray(file.read_bytes())
    place = zipfile.ZipFile(io.BytesIO(content)).infolist()[5].header_offset + 200
    content[place] ^= 64
    file.write_bytes(content)
    with pytest.raises(ScanError, match="no readable weights file"):
        read_model(file)


def test_plain_data_has_an_end():
    with pytest.raises(ValueError, match="too many parts"):
        as_plain([0] * 200_001)
    assert as_plain({"a": [(1, 2.5), None]}) == {"a": [[1, 2.5], None]}


@pytest.mark.parametrize("name", sorted(set(nets.__all__) - {"MAP_KINDS"}))
def test_every_network_is_measured_before_it_is_made(name, tmp_path):
    kind = getattr(nets, name)
    if not isinstance(kind, type):
        pytest.skip("no class")
    network = kind()
    with torch.device("meta"):
        sizes = {key: value.shape for key, value in kind().state_dict().items()}
    assert sizes == {key: value.shape for key, value in network.state_dict().items()}
