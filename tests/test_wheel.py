# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The wheel is the product: installed in an environment of its own, it works in an empty folder."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", "68", reason="the wheel is built with setuptools 68 or later")
    pytest.importorskip("wheel", reason="the wheel is built with the package wheel: pip install -e '.[dev]'")
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # a clone, so that nothing is built that is not committed or lies about
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("this is no git checkout")
    archive = source / "tree.tar"
    with open(source / "files", "w", encoding="utf-8") as stream:
        stream.write("\n".join(f for f in files.stdout.splitlines() if (ROOT / f).exists() or (ROOT / f).is_symlink()))
    subprocess.run(["tar", "cf", archive, "-T", source / "files"], cwd=ROOT, check=True)
    subprocess.run(["tar", "xf", archive], cwd=source, check=True)
    built = _run(
        *(sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-w", folder), cwd=source
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of a fresh environment that borrows the libraries, not this package, of this one."""
    folder = tmp_path_factory.mktemp("environment")
    assert _run(sys.executable, "-m", "venv", folder, cwd=folder).returncode == 0
    own = next(folder.glob("lib/python*/site-packages"))
    own.joinpath("borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    done = _run(folder / "bin" / "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "bin"


def test_the_wheel_holds_the_whole_bundle_and_nothing_that_runs_made(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    bundle = {n.removeprefix("monai_cuas/_bundle/") for n in names if n.startswith("monai_cuas/_bundle/")}
    tracked = subprocess.run(["git", "ls-files", "bundles/cuas"], cwd=ROOT, capture_output=True, text=True).stdout
    wanted = {name.removeprefix("bundles/cuas/") for name in tracked.split() if (ROOT / name).exists()}
    assert bundle == wanted
    assert "monai_cuas/label/ohif.js" in names
    assert "monai_cuas/visualize/report/page.html" in names


def test_it_infers_in_an_empty_folder(installed, tmp_path):
    x = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij")) - 15.5
    image = np.where((x**2).sum(axis=0) < 13**2, 100 + np.random.default_rng(0).normal(0, 8, (32, 32, 32)), 0)
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([5.0, 5.0, 5.0, 1.0])), tmp_path / "scan.nii.gz")
    program = installed / "monai_cuas"
    done = _run(program, "infer", "scan.nii.gz", "--output_dir", "out", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    with open(tmp_path / "out" / "results.csv", newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["scan"]
    assert nib.load(tmp_path / "out" / "scan_mask.nii.gz").shape == (32, 32, 32)
    where = _run(installed / "python", "-c", "import monai_cuas; print(monai_cuas.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where.stdout
    methods = _run(program, "compare", "--methods", "amcon", "--output_dir", "x", cwd=tmp_path)
    assert "the bundle has synthetic_anomaly, " in methods.stderr
    assert "amcons" in methods.stderr
    # nothing is written beside the package
    assert not list((installed.parent).rglob("_bundle/cache"))
