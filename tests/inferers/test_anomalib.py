# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_cuas.bundle import unknown_ids, with_bases
from monai_cuas.inferers import AnomalibInferer
from monai_cuas.networks.nets import PaDiM, PatchCore, ResidualVAE
from monai_cuas.utils import CUASError

from ..toy import ToySlices, toy_slices

PYTHON = os.environ.get("ANOMALIB_PYTHON", "")
ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "cuas" / "configs"
OVERLAYS = sorted((CONFIGS / "methods" / "anomalib").glob("*.json"))
SMALL = {"image_size": 24, "channels": (4, 8, 8), "layers": (1, 1, 1), "latent_size": 3}

# answers as an environment with anomalib does: the map is 10 times the slice, plus the mean of what was learnt
OTHER_PYTHON = f"""#!{sys.executable}
import json, sys, time
from pathlib import Path
import numpy as np
folder, exchange = Path(sys.argv[2]), Path(sys.argv[3])
for line in sys.stdin:
    request, answer = json.loads(line), {{}}
    if request["do"] == "backbone":
        answer["missing"] = None if request["name"] == "efficientnet-lite0" else "no network\\nat all"
        print(json.dumps(answer), flush=True)
        continue
    slices = np.load(exchange / "slices.npy")
    if request["do"] == "fit":
        if json.loads((folder / "task.json").read_text())["seed"] == 13:
            sys.exit("no luck with this seed.")
        masks = np.load(exchange / "masks.npy")
        (exchange / "anomalib.pt").write_text(str(float(slices[masks > 0].mean())))
    else:
        maps = 10 * slices[:, :1] + float((folder / "anomalib.pt").read_text())
        say = round(float(slices[0, 0, 0, 0]), 3)
        if say == 0.111:
            sys.exit("no memory left")
        if say == 0.222:
            maps = maps[:-1]
        if say == 0.333:
            maps = np.array([{{}}])
        if say == 0.444:
            maps[0] = np.nan
        if say == 0.555:
            time.sleep(60)
        if say == 0.666:
            answer = "x" # no JSON object follows
            print("Welcome!", flush=True)
        np.save(exchange / "maps.npy", maps)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Path of something that behaves like a Python with anomalib; temporary folders lie in tmp_path / "temporary"."""
    path = tmp_path / "python"
    path.write_text(OTHER_PYTHON)
    path.chmod(0o755)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return str(path)


def _batches(n=4):
    return torch.utils.data.DataLoader(ToySlices(n), batch_size=2)


def _fitted(python, folder, **kwargs):
    inferer = AnomalibInferer(python, folder, **kwargs)
    inferer.fit(ResidualVAE(**SMALL), _batches())
    return inferer


def test_slices_go_out_and_maps_come_back_in_their_places(tmp_path, python):
    net = ResidualVAE(**SMALL)
    inferer = _fitted(python, tmp_path / "model")
    images, brain, _ = toy_slices(4)
    learnt = images[brain > 0].mean()
    volume = torch.rand(2, 1, 24, 24, 5) * 0.1
    volume[0, ..., 1] = 0
    volume[1, ..., 3:] = 0
    found = inferer(volume, net)
    expected = 10 * volume + learnt
    expected[0, ..., 1] = 0
    expected[1, ..., 3:] = 0
    torch.testing.assert_close(found, expected)
    # another object, as after a restart, finds the model
    torch.testing.assert_close(AnomalibInferer(python, tmp_path / "model")(volume, net), expected)


def test_the_encoder_travels_as_torchscript(tmp_path, python):
    torch.manual_seed(0)
    net = ResidualVAE(**SMALL).eval()
    folder = tmp_path / "not" / "there"
    AnomalibInferer(python, folder, backbone="own", seed=5).fit(net, _batches())
    task = json.loads((folder / "task.json").read_text())
    assert (task["backbone"], task["shape"], task["seed"]) == ("own", [1, 24, 24], 5)
    stages = torch.jit.load(folder / "encoder.pt")(torch.ones(3, 1, 24, 24))
    assert [tuple(f.shape) for f in stages] == [(3, 4, 12, 12), (3, 8, 6, 6)]
    torch.testing.assert_close(stages[0], net.stages[0](net.stem(torch.ones(3, 1, 24, 24))))


def test_without_imagenet_weights_the_own_encoder_is_used_and_named(tmp_path, python, caplog):
    assert AnomalibInferer(python, tmp_path).backbone == "efficientnet-lite0"
    inferer = AnomalibInferer(python, tmp_path, backbone="wide_resnet50_2")
    with caplog.at_level(logging.WARNING):
        assert (inferer.backbone, inferer.own) == ("own encoder", True)
    assert "wide_resnet50_2 cannot be had (no network" in caplog.text
    inferer.fit(ResidualVAE(**SMALL), _batches())
    assert json.loads((tmp_path / "task.json").read_text())["backbone"] == "own"


@pytest.mark.parametrize(
    ("corner", "message"),
    [
        (0.111, "failed: no memory left"),
        (0.222, "one finite number"),
        (0.333, "file of maps cannot be read"),
        (0.444, "one finite number"),
        (0.555, "longer than 3 s"),
        (0.666, "it said nothing"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence_here(tmp_path, python, corner, message):
    net, volume = ResidualVAE(**SMALL), torch.full((1, 1, 24, 24, 2), 0.1)
    # a busy machine may take seconds to start a Python; only the one that hangs is not to be waited for
    inferer = _fitted(python, tmp_path / "model", timeout=60)
    inferer.timeout, volume[0, 0, 0, 0] = 3 if "longer" in message else 60, corner
    with pytest.raises(CUASError, match=message) as error:
        inferer(volume, net)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "temporary").iterdir())
    # the next scan starts anew
    inferer.timeout, volume[0, 0, 0, 0] = 60, 0.1
    assert inferer(volume, net).std() < 1e-6 < inferer(volume, net).mean()


def test_a_failed_fit_leaves_no_model_behind(tmp_path, python):
    inferer = _fitted(python, tmp_path / "model")
    inferer.options["seed"] = 13
    with pytest.raises(CUASError, match=r"failed: no luck with this seed \(its log"):
        inferer.fit(ResidualVAE(**SMALL), _batches())
    with pytest.raises(CUASError, match="no fitted anomalib model"):
        inferer(torch.ones(1, 1, 24, 24, 2), ResidualVAE(**SMALL))
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["task.json", "worker.log"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No Python with anomalib is named"),
        ("/nowhere/python", "let ANOMALIB_PYTHON name"),
        # this environment has PyTorch, but no anomalib
        (sys.executable, "failed: ModuleNotFoundError: No module named 'anomalib'"),
    ],
)
def test_a_missing_environment_is_one_sentence(tmp_path, python, name, message):
    with pytest.raises(CUASError, match=message) as error:
        assert AnomalibInferer(name, tmp_path / "model").backbone
    assert not list((tmp_path / "temporary").iterdir())
    assert "docs/methods/anomalib.md" in str(error.value)
    with pytest.raises(ValueError, match="padim"):
        AnomalibInferer(name, tmp_path, model="cflow")


def test_the_other_side_removes_exchanged_files_too_when_this_one_is_gone(tmp_path):
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / "slices.npy").write_text("a scan")
    worker = ROOT / "monai_cuas" / "inferers" / "anomalib" / "worker.py"
    command = [PYTHON or sys.executable, str(worker), str(tmp_path), str(tmp_path / "exchange")]
    subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert not (tmp_path / "exchange").exists()


def test_process_and_exchanged_files_end_with_the_inferer(tmp_path, python):
    inferer = _fitted(python, tmp_path / "model")
    process, exchange = inferer._process, inferer.exchange
    assert process.poll() is None
    assert exchange.parent == tmp_path / "temporary"
    assert not list(exchange.iterdir())
    del inferer
    gc.collect()
    assert process.poll() is not None
    assert not exchange.exists()


@pytest.mark.parametrize(
    ("backbone", "title"),
    [("efficientnet-lite0", "efficientnet-lite0"), ("own", "own encoder"), ("wide_resnet50_2", "own encoder")],
)
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_overlays_say_what_ran_and_rebuild_their_inferer(overlay, backbone, title, tmp_path, monkeypatch, python):
    monkeypatch.setenv("ANOMALIB_PYTHON", python)
    files = [str(CONFIGS / "train.json"), *with_bases(str(overlay))]
    assert not unknown_ids(files, [])
    parser = ConfigParser()
    parser.read_config(files)
    parser.update({"bundle_root": str(CONFIGS.parent), "dataset_dir": "", "output_dir": str(tmp_path)})
    parser.update({"backbone": backbone, "seed": 7})
    recipe = parser.get_parsed_content("recipe")
    trained = parser.get_parsed_content("map_inferer")
    assert trained.options["model"] in overlay.stem
    assert trained.options["seed"] == 7
    assert recipe.method.endswith(f" (anomalib, {title})")
    page = (ROOT / "docs" / "methods" / "anomalib.md").read_text()
    assert overlay.name in page
    assert f"[{recipe.method.split(',')[0]})](anomalib.md)" in (ROOT / "docs" / "methods" / "README.md").read_text()
    again = recipe.make_map_inferer(folder=tmp_path)
    assert isinstance(again, AnomalibInferer)
    assert (again.python, again.folder) == (trained.python, trained.folder) == (python, tmp_path / "anomalib")


# anomalib's own distances of given features from given normal ones
DISTANCES = """
import sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
import worker
worker.declare_torchvision_operators()
from anomalib.models.components import MultiVariateGaussian
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
given = {name: torch.from_numpy(array) for name, array in np.load(sys.argv[2]).items()}
core = PatchcoreModel(["0"], backbone=torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), pre_trained=False)
core.memory_bank = given["bank"]
n, _, h, w = given["patches"].shape
near, _ = core.nearest_neighbors(core.reshape_embedding(given["patches"]), 1)
gaussian = MultiVariateGaussian()
gaussian.fit(given["normal"])
far = AnomalyMapGenerator.compute_distance(given["places"], [gaussian.mean, gaussian.inv_covariance])
np.savez(sys.argv[3], near=near.reshape(n, 1, h, w).numpy(), far=far.numpy())
"""


def _anomalib_distances(tmp_path, **given):
    np.savez(tmp_path / "in.npz", **{name: tensor.numpy() for name, tensor in given.items()})
    folder = ROOT / "monai_cuas" / "inferers"
    command = [PYTHON, "-c", DISTANCES, str(folder), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    return np.load(tmp_path / "out.npz")


@pytest.mark.skipif(not PYTHON, reason="ANOMALIB_PYTHON names no environment with anomalib")
@torch.no_grad()
def test_our_distances_are_those_of_anomalib(tmp_path):
    """PatchCore's nearest neighbours and PaDiM's Gaussians, each from the same features in both libraries."""
    n = 40
    torch.manual_seed(0)
    core, padim = PatchCore(**SMALL, bank_size=200), PaDiM(**SMALL, dimensions=6)
    normal, (test, _, _) = torch.utils.data.DataLoader(ToySlices(n), batch_size=16), toy_slices(6, anomaly=True)
    core.fit(normal)
    padim.fit(normal)
    learnt, places = (padim.embedding(x)[:, padim.drawn].double() for x in (toy_slices(n)[0], test))
    # anomalib divides by n - 1 and adds 0.01001 as it stands, we by n and 0.01 of the mean variance: on features of
    # this scale its matrix is a multiple of ours, and the distances have a known ratio
    scale = (1.001 * (n - 1) / n / learnt.var(dim=0, unbiased=False).mean()).sqrt()
    found = _anomalib_distances(
        tmp_path,
        bank=core.bank,
        patches=core.embedding(test),
        normal=(learnt * scale).float(),
        places=(places * scale).float(),
    )
    np.testing.assert_allclose(found["near"], core.distance(core.embedding(test)).numpy(), atol=1e-4, rtol=1e-3)
    ours = padim.distance(padim.embedding(test)).numpy()
    np.testing.assert_allclose(found["far"], ours * ((n - 1) / n) ** 0.5, rtol=5e-3)
    assert ours.std() > 0.1 * ours.mean()
