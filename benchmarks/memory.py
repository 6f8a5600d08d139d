# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Does memory grow with the number of scans?

    python benchmarks/memory.py --scans 20 200

Inference, calibration, evaluation and training on so many small phantom scans (4 mm), each a command in a process of
its own. Printed is the peak of resident memory in MB, libraries included, and what a further scan adds, beside the size
of a scan as float32. Exit code 1 if many scans take more than ``--most`` MB above few.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_cuas import cli
from monai_cuas.io.nifti import save_nifti
from monai_cuas.phantom import make_phantom_subject
from monai_cuas.utils.resources import Usage

KINDS = 10
_INSIDE = "--inside"
TINY = ["--image_size", "32", "--pixel_unshuffle", "1", "--features", "[4,4,8,8,8,4]", "--num_workers", "0"]
TINY += ["--device", "cpu", "--epochs", "1", "--after_training", "[]"]


def write_scans(folder: Path, many: int, first: int, lesions: bool = False) -> list[dict[str, str]]:
    """
    Write scans of few phantoms with noise of their own, so that none is another's copy; returns entries of a data list.

    Args:
        folder: made if absent.
        many: number of scans.
        first: number of the first, by which their noise is drawn.
        lesions: with a lesion and its mask.
    """
    kind = "tumour" if lesions else None
    subjects = [make_phantom_subject(0, first + n, kind, spacing=4.0) for n in range(min(many, KINDS))]
    folder.mkdir(parents=True)
    entries = []
    for n in range(many):
        one, noise = subjects[n % KINDS], np.random.default_rng(first + n)
        image = np.where(one.image > 0, np.maximum(one.image + noise.integers(-9, 10, one.image.shape), 1), 0)
        entry = {"image": str(folder / f"s{first + n}.nii.gz"), "subject": f"s{first + n}"}
        save_nifti(Path(entry["image"]), image.astype(np.int16), one.affine, np.int16)
        if one.label is not None:
            entry["label"] = str(folder / f"s{first + n}_label.nii.gz")
            save_nifti(Path(entry["label"]), one.label, one.affine, np.uint8)
        entries.append(entry)
    return entries


def peak(arguments: Sequence[str], log: Path) -> float:
    """Peak resident memory of a command in a process of its own, MB."""
    with open(log, "w", encoding="utf-8") as file:
        command = [sys.executable, __file__, _INSIDE, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}\n{log.read_text()[-3000:]}")
    return float(done.stdout.splitlines()[-1])


def inside(arguments: Sequence[str]) -> int:
    """Run a command and print its peak."""
    with Usage() as usage:
        code = cli.main(arguments)
    print(usage.peak_mb)
    return code


def commands(folder: Path, scans: int) -> dict[str, list[str]]:
    """Commands by name, on so many scans each; their scans are written."""
    data = folder / "data"
    normals = write_scans(data / "normals", scans, 0)
    few = write_scans(data / "few", 6, 10_000)
    sick = write_scans(data / "sick", scans, 20_000, lesions=True)
    lists = {"training": normals, "validation": few[:3], "calibration": few[3:], "test_lesion": sick, "test_normal": []}
    for name, chosen in {"train": lists, "evaluate": lists}.items():
        (folder / name).mkdir()
        (folder / name / "dataset.json").write_text(json.dumps(chosen))
    known = ["--model", "phantom", "--device", "cpu"]
    output = {name: ["--output_dir", str(folder / f"{name}_out")] for name in ("infer", "evaluate", "train")}
    return {
        "infer": ["infer", str(data / "normals"), *known, *output["infer"]],
        "calibrate": ["calibrate", *known, "--normals", str(data / "normals"), "--output", str(folder / "new.pt")],
        "evaluate": ["evaluate", *known, "--dataset_dir", str(folder / "evaluate"), *output["evaluate"]],
        "train": ["train", "--dataset_dir", str(folder / "train"), *output["train"], *TINY],
    }


def main() -> int:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description="Peak memory by the number of scans.")
    parser.add_argument("--scans", type=int, nargs=2, default=[20, 200], metavar=("FEW", "MANY"))
    parser.add_argument("--tasks", nargs="+", default=["infer", "calibrate", "train", "evaluate"])
    parser.add_argument("--most", type=float, default=60.0, help="MB that the many may take above the few")
    options = parser.parse_args()
    few, many = options.scans
    grown = False
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.chdir(root)
        made = {scans: commands(root / str(scans), scans) for scans in (few, many)}
        voxels = make_phantom_subject(0, 0, spacing=4.0).image.size
        print(f"a scan as float32: {voxels * 4 / 2**20:.2f} MB\n\n| | {few} scans | {many} scans | a further scan |")
        print("|---|---|---|---|", flush=True)
        for task in options.tasks:
            peaks = [peak(made[scans][task], root / f"{task}.log") for scans in (few, many)]
            each = (peaks[1] - peaks[0]) / (many - few)
            print(f"| {task} | {peaks[0]:.0f} MB | {peaks[1]:.0f} MB | {each:+.2f} MB |", flush=True)
            grown = grown or peaks[1] - peaks[0] > options.most
    return int(grown)


if __name__ == "__main__":
    sys.exit(inside(sys.argv[2:]) if sys.argv[1:2] == [_INSIDE] else main())
