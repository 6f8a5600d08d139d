# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Trainings that are killed at any moment and resumed: do they end with the same weights and the same tables?

    python benchmarks/kills.py --kills 20 --seed 0

A small training on a phantom, from making the phantom to the tables of the test scans, runs twice unbroken (the
second time as a control of the comparison), and then as often as the kills ask for: it is begun, killed by SIGKILL at
a moment drawn in a stage, and resumed by ``--resume``; with ``--per_run`` it is killed several times, stage after
stage. Every second run is begun in the folder of a finished one of another cohort and other settings, whose checkpoints
and results must not be taken. Each run is a process of its own, forked from one that has imported the libraries, as
importing takes longer than the training.

Compared are every tensor of ``model.pt`` bit for bit, its recipe and calibration, the file itself, and every file of
``inference`` and ``evaluation`` (tables, maps, masks, pictures, report) byte for byte; of tables, all but columns of
seconds. Exit code 1 if a run failed or anything differs.
"""

from __future__ import annotations

import argparse
import collections
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monai_cuas import bundle, cli, evaluation, phantom
from monai_cuas.handlers import find_checkpoints

EPOCHS = 4
LIMIT_S = 900.0
POLL_S = 0.0005
SETTINGS = {
    **{"phantom#spacing": 6.0, "phantom_normals": 8, "phantom_lesions": 1, "epochs": EPOCHS, "device": "cpu"},
    **{"num_workers": 0, "image_size": 32, "pixel_unshuffle": 1, "features": "[4,4,8,8,8,4]"},
    "middle_slices": 4,
}
OTHER = {**SETTINGS, "phantom_normals": 9, "phantom_lesions": 2, "learning_rate": 0.01}


def _checkpoint(epoch: int) -> Callable[[Path], bool]:
    return lambda run: (run / "checkpoints" / f"checkpoint_{epoch}.pt").exists()


# what tells that a stage has begun; files of a finished run of other settings are gone by then, or told by their time
STAGES: dict[str, Callable[[Path], bool]] = {
    "phantom": lambda run: True,
    "caching": lambda run: _new(run, "phantom/dataset.json"),
    "training": lambda run: _caching_done(run),
    "checkpoint": lambda run: _checkpoint(1)(run) and _new(run, "checkpoints/checkpoint_1.pt"),
    "level": lambda run: _checkpoint(EPOCHS)(run) and _new(run, f"checkpoints/checkpoint_{EPOCHS}.pt"),
    "calibration": lambda run: _new(run, "model.pt"),
    "inference": lambda run: _new(run, "model_calibration.json"),
    "evaluation": lambda run: _new(run, "inference/report.html"),
}
# kills in each, of 20; other numbers take turns in this order
SHARES = {"phantom": 3, "caching": 3, "training": 3, "checkpoint": 4, "level": 1, "calibration": 2, "inference": 2}
SHARES["evaluation"] = 2


def _new(run: Path, file: str) -> bool:
    """Whether a file is of the run that began last."""
    path = run / file
    began = run / ".began"
    try:
        return path.stat().st_mtime_ns >= began.stat().st_mtime_ns
    except OSError:
        return False


def _caching_done(run: Path) -> bool:
    return _new(run, "phantom/dataset.json") and any(
        path.stat().st_mtime_ns >= (run / ".began").stat().st_mtime_ns for path in run.glob("events.out.tfevents*")
    )


def start(run: Path, settings: dict[str, Any], resume: bool = False) -> int:
    """Begin ``monai_cuas train`` in a process of its own; returns its id."""
    run.mkdir(parents=True, exist_ok=True)
    if not resume:
        (run / ".began").write_text("")
    ids = {**settings, "phantom#output_dir": run / "phantom", "preprocessing_cache": run / "cache" / "preprocessing"}
    words = ["train", "--output_dir", str(run), *(str(w) for key, value in ids.items() for w in (f"--{key}", value))]
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(run / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = cli.main([*words, *(["--resume"] if resume else [])])
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(child: int) -> int | None:
    """Exit code of a process; None while it runs; negative: the signal that ended it."""
    try:
        done, status = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return 0  # it was waited for before, and had ended well
    return os.waitstatus_to_exitcode(status) if done else None


def finish(child: int, run: Path) -> dict[str, float]:
    """Wait for a process to end well, and note when each stage began; seconds from now."""
    begun, clock = {}, time.perf_counter()
    while (code := ended(child)) is None:
        for name, there in STAGES.items():
            if name not in begun and there(run):
                begun[name] = time.perf_counter() - clock
        time.sleep(0.002)
        if time.perf_counter() - clock > LIMIT_S:
            os.kill(child, signal.SIGKILL)
    if code:
        raise SystemExit(f"a run ended with exit code {code}:\n{(run / 'log.txt').read_text()[-3000:]}")
    return {**begun, "end": time.perf_counter() - clock}


def kill_in(child: int, run: Path, stage: str, moment: float, lasts: float) -> str:
    """
    Kill a run at a moment of a stage.

    Args:
        child: its process.
        run: its folder.
        stage: one of ``STAGES``.
        moment: between 0 and 1, of what the stage lasts; of "checkpoint", of a hundredth second from a change on.
        lasts: seconds that the stage took unbroken.

    Returns:
        The last stage that had begun; "ended" if the run was done before.
    """
    while ended_code(child, run) is None and not STAGES[stage](run):
        time.sleep(POLL_S)
    if stage == "checkpoint":
        # the next one is being written, of an epoch drawn by the moment
        before = _listed(run)
        while ended_code(child, run) is None and _listed(run) == before:
            time.sleep(POLL_S)
        lasts = 0.01
    time.sleep(moment * lasts)
    code = ended_code(child, run)
    if code is None:
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        return "ended"
    return [name for name, there in STAGES.items() if there(run)][-1]


def ended_code(child: int, run: Path) -> int | None:
    """As :func:`ended`, and an error if the run failed by itself."""
    code = ended(child)
    if code:
        raise SystemExit(f"a run ended with exit code {code}:\n{(run / 'log.txt').read_text()[-3000:]}")
    return code


def _listed(run: Path) -> list[str]:
    return sorted(os.listdir(run / "checkpoints")) if (run / "checkpoints").is_dir() else []


def _untimed(path: Path) -> bytes:
    """A file's content, of a table without what took how long."""
    if path.suffix != ".csv":
        return path.read_bytes()
    rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(path.open(encoding="utf-8"))]
    return json.dumps(rows).encode()


def outcome(run: Path) -> dict[str, str]:
    """Digests of all that a run gives: of each tensor, of recipe and calibration, of each file of results."""
    model = torch.load(run / "model.pt", weights_only=True)
    tensors = {f"model.pt: {key}": value.contiguous().numpy().tobytes() for key, value in model["model"].items()}
    plain = {f"model.pt: {key}": json.dumps(model[key], sort_keys=True).encode() for key in ("recipe", "calibration")}
    folders = [path for name in ("inference", "evaluation") for path in (run / name).iterdir()]
    whole = [run / "model_calibration.json", run / "model.pt"]
    files = [path for path in [*folders, *whole] if not path.name.startswith(".")]
    found = {str(path.relative_to(run)): _untimed(path) for path in files}
    return {name: hashlib.sha256(content).hexdigest() for name, content in {**tensors, **plain, **found}.items()}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of what is not equal, or in one alone."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def planned(kills: int, per_run: int = 1) -> list[list[str]]:
    """The stages that each run is killed in, one after the other; all together as ``SHARES`` has them."""
    order = [name for name, share in SHARES.items() for _ in range(share)]
    runs = -(-kills // per_run)
    stages = sorted((order[k % len(order)] for k in range(kills)), key=list(STAGES).index)
    return [stages[n::runs] for n in range(runs)]


def main() -> int:
    """Run it all and print the counts."""
    parser = argparse.ArgumentParser(description="Trainings that are killed and resumed.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per_run", type=int, default=1, help="kills of a run, which is resumed after each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, clock = random.Random(options.seed), time.perf_counter()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        # paths are part of the tables, so every run has the same
        run, other = Path(name, "run"), Path(name, "other")
        finish(start(run, OTHER), run)
        run.rename(other)
        begun = finish(start(run, SETTINGS), run)
        whole = outcome(run)
        shutil.rmtree(run)
        finish(start(run, SETTINGS), run)
        print(f"unbroken: {len(whole)} tensors and files, {begun['end']:.0f} s; stages began at {begun}", flush=True)
        wrong = [f"the control: {name}" for name in differing(whole, outcome(run))]
        times = [*begun.values()]
        lasts = {stage: times[k + 1] - times[k] for k, stage in enumerate(STAGES)}
        hit: collections.Counter[str] = collections.Counter()
        for number, stages in enumerate(planned(options.kills, options.per_run)):
            shutil.rmtree(run)
            stale = number % 2 == 1
            if stale:
                shutil.copytree(other, run)
            places = []
            for k, stage in enumerate(stages):
                child = start(run, SETTINGS, resume=k > 0)
                places.append(kill_in(child, run, stage, draw.random(), lasts[stage]))
                left = [os.path.basename(path) for path in find_checkpoints(run / "checkpoints")]
                print(f"run {number + 1}: killed in {places[-1]} (aimed at {stage}), left {left}", flush=True)
            finish(start(run, SETTINGS, resume=True), run)
            found = differing(whole, outcome(run))
            wrong += [f"run {number + 1} ({', '.join(places)}): {name}" for name in found]
            hit.update(places)
            where = " in the folder of another run" if stale else ""
            print(f"run {number + 1}{where}: {len(places)} kills, {len(found)} of {len(whole)} differ", flush=True)
    print("\n".join(wrong))
    struck = sum(hit.values()) - hit["ended"]  # without those that came too late
    print(f"{struck} kills {dict(hit)}: {len(wrong)} differ; {time.perf_counter() - clock:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    # imported before the first fork
    assert all((bundle, evaluation, phantom))
    sys.exit(main())
