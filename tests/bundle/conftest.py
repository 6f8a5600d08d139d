# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_cuas.bundle import with_bases
from monai_cuas.inferers import StandardizedIntensityInferer
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.networks.nets import StandardizedIntensity
from monai_cuas.phantom import make_phantom_cohort
from monai_cuas.recipe import describe, write_model
from monai_cuas.transforms import AnomalyPreprocessing

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "cuas"
CONFIGS = BUNDLE / "configs"

# As small as the network and the run can be.
TINY = {
    **{"epochs": 1, "middle_slices": 2, "image_size": 32, "pixel_unshuffle": 1, "features": [4, 4, 8, 8, 8, 4]},
    **{"after_training": [], "device": "cpu", "amp": False},
}
# of methods/vae.json and what builds on it
TINY_VAE = {"channels": [4, 8], "layers": [1, 1], "latent_size": 4}


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """Folder of the smallest cohort on which every config runs."""
    pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")
    index = make_phantom_cohort(tmp_path_factory.mktemp("phantom"), normals=6, lesions=1, spacing=6.0, progress=False)
    return Path(index).parent


@pytest.fixture(scope="session")
def slice_cache(tmp_path_factory) -> Path:
    """Folder of the training slices, shared by the runs of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_workflow(phantom, slice_cache, tmp_path) -> Callable[..., ConfigWorkflow]:
    """Function from config files (below configs/, or paths) and overrides to an initialised workflow in tmp_path."""

    def make(*files: str | Path, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        ids = {
            "bundle_root": str(BUNDLE),
            "dataset_dir": str(phantom),
            "output_dir": str(tmp_path / "out"),
            **overrides,
        }
        if workflow_type == "train":
            ids = {**TINY, **(TINY_VAE if "methods/vae.json" in files else {}), "cache_dir": str(slice_cache), **ids}
        paths = [str(CONFIGS / file) for file in files]
        workflow = ConfigWorkflow(paths, workflow_type=workflow_type, logging_file=False, **ids)
        workflow.initialize()
        return workflow

    return make


def method_files(name: str) -> list[str]:
    """Config files of a method, as a user would list them."""
    overlays = [] if name == "synthetic_anomaly" else with_bases(str(CONFIGS / "methods" / f"{name}.json"))
    return [str(CONFIGS / "train.json"), *overlays]


def training_config(method: str = "synthetic_anomaly", **overrides: Any) -> ConfigParser:
    """The train config of a method."""
    parser = ConfigParser()
    parser.read_config(method_files(method))
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": "", "device": "cpu", **overrides})
    return parser


def write_bright(path: Path, landmarks: torch.Tensor | None = None, lowest: float = 0.0) -> Path:
    """Weights whose map is the intensity itself, so that what is bright in a scan must be marked, at its place."""
    network = StandardizedIntensity()
    network.standardize.fit(((10 * torch.tensor(DEFAULT_LEVELS)) if landmarks is None else landmarks).view(1, 1, -1))
    network.calibration.set_(torch.linspace(lowest, 1.0, len(network.calibration.rates)))
    recipe = describe(network, AnomalyPreprocessing(), StandardizedIntensityInferer(), "raw intensity")
    write_model(path, network, recipe, {"n_scans": 0})
    return path


def write_untrained(path: Path, method: str = "synthetic_anomaly", **overrides: Any) -> Path:
    """Weights of a method as they are before training, with landmarks and thresholds as if it had been trained."""
    torch.manual_seed(0)
    config = training_config(method, **overrides)
    network, recipe = (config.get_parsed_content(name) for name in ("network_def", "recipe"))
    landmarks = (10 * torch.tensor(DEFAULT_LEVELS)).square().view(1, 1, -1)
    network.standardize.fit(landmarks.expand(1, overrides.get("in_channels", 1), -1))
    rates = network.calibration.rates
    network.calibration.set_(torch.linspace(-1.0, 1.0, len(rates)))
    write_model(path, network, recipe, {"n_scans": 0})
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """Weights of the default method, untrained."""
    return write_untrained(tmp_path_factory.mktemp("weights") / "model.pt")


@pytest.fixture(scope="session")
def bundle_copy(tmp_path_factory, weights) -> Path:
    """The bundle elsewhere, with weights in models/model.pt, as someone has it who got it as a zip file."""
    folder = tmp_path_factory.mktemp("bundles") / "cuas"
    shutil.copytree(CONFIGS, folder / "configs")
    (folder / "models").mkdir()
    shutil.copy(weights, folder / "models" / "model.pt")
    return folder


@pytest.fixture
def tiny_overlay(tmp_path, phantom, slice_cache) -> Path:
    """The smallest training run as a YAML overlay of train.json."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "dataset_dir": str(phantom), "cache_dir": str(slice_cache)}))
    return path


def run_module(*arguments: Any, cwd: Path = ROOT, module: Sequence[str] = ("monai.bundle", "run")) -> Any:
    """Run ``python -m`` as a user would; the package of this checkout is found from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", *module, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
