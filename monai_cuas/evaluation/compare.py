# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Train, calibrate and evaluate several methods with several seeds, all on the same scans.

A method is an overlay of the bundle's train config. Each method and seed has a folder of its own; what is there
already, made with the same settings and data, is not made again.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.inferers import Inferer

from ..bundle import DEFAULT_METHOD, make_workflow, method_overlay, unknown_ids, with_bases
from ..utils import CUASError, user_message, write_json
from ..utils.resources import Usage
from .evaluate import evaluate

__all__ = ["Comparison", "Run", "TimedInferer"]

logger = logging.getLogger(__name__)

# set by the comparison itself, for each run
_RESERVED = frozenset({"seed", "output_dir", "resume", "after_training", "dataset_dir", "bundle_root"})
_RECORD = "comparison_run.json"


class TimedInferer(Inferer):
    """
    Another inferer, and the time it takes.

    Args:
        inferer: the other one.

    Attributes:
        seconds: of each volume so far.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer
        self.seconds: list[float] = []

    def __call__(self, inputs: Any, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call the other inferer."""
        start = time.perf_counter()
        result = self.inferer(inputs, network, *args, **kwargs)
        self.seconds.append(time.perf_counter() - start)
        return result


@dataclass(frozen=True)
class Run:
    """
    One method with one seed.

    Attributes:
        method: name of the overlay.
        overlay: its file; empty for the method of the train config itself.
        seed: seed of the training.
        folder: what the run writes goes here.
        overrides: ids and values for this method.
    """

    method: str
    overlay: str
    seed: int
    folder: Path
    overrides: Mapping[str, Any]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


class Comparison:
    """
    The runs of a comparison.

    Args:
        config_files: the bundle's train config, then overlays that all methods share.
        methods: names of overlays below ``methods/`` beside the train config, or paths of overlay files; "all" stands
            for every overlay there that needs no environment of its own (those lie in subfolders).
        seeds: seeds of the trainings.
        output_dir: folder for the runs and the report.
        dataset_dir: folder of ``dataset.json``; None takes what the train config names (the phantom cohort).
        overrides: ids of the train, inference, calibration or evaluation config; ``method:id`` is for one method alone.
        retrain: make a run anew whose settings or data have changed; otherwise that is an error.

    Raises:
        CUASError: for an unknown method or id.
    """

    def __init__(
        self,
        config_files: Sequence[str],
        methods: Sequence[str],
        seeds: Sequence[int],
        output_dir: str | os.PathLike,
        dataset_dir: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        retrain: bool = False,
    ) -> None:
        self.config_files = [os.fspath(file) for file in config_files]
        for file in self.config_files:
            if not os.path.isfile(file):
                raise CUASError(f"{file}: there is no such config; give the bundle's configs/train.json.")
        self.configs = Path(self.config_files[0]).resolve().parent
        self.folder, self.retrain = Path(output_dir).resolve(), retrain
        self._inference_files = [str(self.configs / f"{name}.json") for name in ("inference", "evaluate", "calibrate")]
        overlays: dict[str, str] = {}
        bundled = [DEFAULT_METHOD, *sorted(path.stem for path in (self.configs / "methods").glob("*.json"))]
        for name in (n for method in methods for n in (bundled if method == "all" else [method])):
            file = method_overlay(name, self.configs)
            if overlays.setdefault(Path(name).stem, file) != file:
                raise CUASError(f"Two of the methods are named '{Path(name).stem}'; rename one of the files.")
        common, own = self._split(overrides or {}, overlays)
        self.runs = [
            Run(name, file, int(seed), self.folder / "runs" / name / f"seed{seed}", {**common, **own.get(name, {})})
            for seed in dict.fromkeys(seeds)
            for name, file in overlays.items()
        ]
        # what one method has, such as the channels of an autoencoder, another need not have
        some = {key for run in self.runs for key in common if not self._unknown(run, [key])}
        for run in self.runs:
            self._check(run, [key for key in run.overrides if key not in some or key in own.get(run.method, {})])
        self.dataset_dir = dataset_dir or self._default_dataset(common)
        self.failed: dict[str, str] = {}

    @staticmethod
    def _split(overrides: Mapping[str, Any], known: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, dict]]:
        """Overrides for all methods, and those written as ``method:id`` by method."""
        common: dict[str, Any] = {}
        own: dict[str, dict[str, Any]] = {}
        for key, value in overrides.items():
            method, separator, name = key.partition(":")
            if separator and method not in known:
                raise CUASError(f"The override '{key}' is for a method that is not compared here; see --methods.")
            if (name or method) in _RESERVED:
                raise CUASError(f"The comparison sets '{name or method}' itself, so it cannot be overridden.")
            (own.setdefault(method, {}) if separator else common)[name or method] = value
        return common, own

    def _known(self, files: Sequence[str], keys: Sequence[str]) -> list[str]:
        unknown = unknown_ids(files, keys)
        return [key for key in keys if key.split("#")[0] not in unknown]

    def _train_files(self, run: Run) -> list[str]:
        methods = str(self.configs / "methods")
        return [*self.config_files, *(with_bases(run.overlay, methods) if run.overlay else [])]

    def _unknown(self, run: Run, keys: Sequence[str]) -> set[str]:
        missing = set(keys) - set(self._known(self._train_files(run), keys))
        return missing - set(self._known(self._inference_files, list(keys)))

    def _check(self, run: Run, keys: Sequence[str]) -> None:
        missing = self._unknown(run, keys)
        if missing:
            near = unknown_ids(self._train_files(run), sorted(missing))
            hint = next((f" (did you mean '{n}'?)" for n in near.values() if n), "")
            raise CUASError(f"No config has an id {', '.join(sorted(missing))}{hint}, so it would do nothing.")

    def _default_dataset(self, overrides: Mapping[str, Any]) -> str:
        parser = ConfigParser()
        parser.read_config(self.config_files)
        known = self._known(self.config_files, list(overrides))
        parser.update({"bundle_root": str(self.configs.parent), **{key: overrides[key] for key in known}})
        return str(parser.get_parsed_content("dataset_dir"))

    def _train_ids(self, run: Run) -> dict[str, Any]:
        known = self._known(self._train_files(run), list(run.overrides))
        return {
            "bundle_root": str(self.configs.parent),
            "dataset_dir": self.dataset_dir,
            "seed": run.seed,
            "after_training": [],
            "cache_dir": str(self.folder / "cache"),
            **{key: run.overrides[key] for key in known},
            "output_dir": str(run.folder),
        }

    def _data_stamp(self) -> str:
        index = Path(self.dataset_dir) / "dataset.json"
        if not index.is_file():
            raise CUASError(f"{index}: there is no such file; give --dataset_dir a folder with a dataset.json.")
        return hashlib.sha256(index.read_bytes()).hexdigest()

    def _train_settings(self, run: Run) -> dict[str, Any]:
        """Everything that decides how the run's weights come out."""
        parser = ConfigParser()
        parser.read_config(self._train_files(run))
        parser.update({**self._train_ids(run), "output_dir": ""})
        config = {k: v for k, v in parser.get().items() if k not in ("output_dir", "cache_dir", "bundle_root")}
        return {**json.loads(json.dumps(config)), "dataset.json": self._data_stamp()}

    def _score_settings(self, run: Run) -> dict[str, Any]:
        """Everything beside the weights that decides how they score."""
        known = self._known(self._inference_files, list(run.overrides))
        configs = {Path(file).name: _read(Path(file)) for file in self._inference_files}
        return {**configs, "overrides": {key: run.overrides[key] for key in known}, "dataset.json": self._data_stamp()}

    def state(self, run: Run) -> str:
        """
        What remains of a run: "train", "resume", "score" or "done".

        Raises:
            CUASError: if the run was made with other settings or data.
        """
        record = _read(run.folder / _RECORD)
        if not record:
            return "train"
        changed = _differing(record["train"], self._train_settings(run))
        if changed and not self.retrain:
            raise CUASError(
                f"{run.folder}: this run was made with other settings ({', '.join(changed[:5])}); take another "
                "--output_dir, or --retrain to make it anew."
            )
        if changed:
            return "train"
        if not record.get("trained"):
            return "resume"
        return "score" if _differing(record.get("score", {}), self._score_settings(run)) else "done"

    def train(self, run: Run, resume: bool) -> None:
        """Train a run and note that it is done; a killed one goes on with its last epoch."""
        run.folder.mkdir(parents=True, exist_ok=True)
        record = _read(run.folder / _RECORD) if resume else {}
        record = {"train": self._train_settings(run), "train_seconds": record.get("train_seconds", 0.0)}
        write_json(run.folder / _RECORD, record)
        ids = {**self._train_ids(run), "resume": resume}
        with Usage() as usage:
            meta_file = str(self.configs / "metadata.json")
            workflow = make_workflow(self._train_files(run), "train", meta_file=meta_file, **ids)
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        untrained = not workflow.parser.get_parsed_content("training_steps")
        network = workflow.parser.get_parsed_content("network_def")
        write_json(
            run.folder / _RECORD,
            {
                **record,
                "name": workflow.parser.get_parsed_content("method"),
                "trained": True,
                "train_seconds": record["train_seconds"] + usage.seconds,
                "train_peak_mb": usage.peak_mb,
                "train_peak_gpu_mb": usage.peak_gpu_mb,
                "parameters": 0 if untrained else sum(p.numel() for p in network.parameters() if p.requires_grad),
            },
        )

    def _scoring(self, run: Run) -> ConfigParser:
        known = self._known(self._inference_files, list(run.overrides))
        parser = ConfigParser()
        parser.read_config(self._inference_files)
        parser.update(
            {
                **{key: run.overrides[key] for key in known},
                "bundle_root": str(self.configs.parent),
                "dataset_dir": self.dataset_dir,
                "ckpt_path": str(run.folder / "model.pt"),
                "output_dir": str(run.folder / "evaluation"),
            }
        )
        return parser

    def score(self, run: Run) -> None:
        """Calibrate a trained run on the normals and evaluate it on the test scans."""
        config = self._scoring(run)
        get: Callable[[str], Any] = config.get_parsed_content
        model = get("model")
        how = {
            "preprocessing": get("preprocessing"),
            "postprocessing": get("map_postprocessing"),
            "device": get("device"),
        }
        method, normals = get("inferer"), get("calibration_data")
        model.save(get("calibration"))
        method.inferer = timer = TimedInferer(method.inferer)
        with Usage() as usage:
            evaluate(
                model.network,
                {model.method: method},
                normals,
                get("evaluation_data"),
                output_dir=get("output_dir"),
                rate=get("rate"),
                erode_voxels=get("erode_voxels"),
                panel_rows=get("panel_rows"),
                detection_score=get("detection_score"),
                with_baselines=False,
                page=False,
                **how,
            )
        write_json(
            run.folder / _RECORD,
            {
                **_read(run.folder / _RECORD),
                "score": self._score_settings(run),
                "seconds_per_volume": sum(timer.seconds) / max(len(timer.seconds), 1),
                "peak_mb": usage.peak_mb,
                "peak_gpu_mb": usage.peak_gpu_mb,
            },
        )

    def run(self, report: Callable[[Comparison], None], say: Callable[[str], None] = print) -> None:
        """
        Do what remains, seed by seed, and report after each run; one method's failure does not stop the others.

        Args:
            report: writes the report of the runs that are done.
            say: takes a line of progress: one for each stage of a run.
        """
        states = [self.state(run) for run in self.runs]
        left = [(run, state) for run, state in zip(self.runs, states) if state != "done"]
        say(f"{len(self.runs)} runs: {len(self.runs) - len(left)} done, {len(left)} remain.")
        took: list[tuple[str, float]] = []
        began = time.perf_counter()
        for number, (run, state) in enumerate(left, 1):
            start = time.perf_counter()
            label = f"[{number}/{len(left)}] {run.method}, seed {run.seed}"
            outcome = self._attempt(run, state, partial(_say_stage, say, label))
            gc.collect()
            now = time.perf_counter()
            took.append((run.method, now - start))
            remaining = _remaining([run.method for run, _ in left[number:]], took)
            say(
                f"{label}: {outcome} in {_clock(now - start)} ({_clock(now - began)} elapsed; "
                f"{len(left) - number} runs remain, about {_clock(remaining)})"
            )
            report(self)
        report(self)

    def _attempt(self, run: Run, state: str, say: Callable[[str], None]) -> str:
        """Do what remains of a run; "done", or why not."""
        try:
            if state != "score":
                say("training goes on" if state == "resume" else "training")
                self.train(run, resume=state == "resume")
            say("calibration and evaluation")
            self.score(run)
        except Exception as error:
            logger.debug("%s failed", run.folder, exc_info=True)
            why = user_message(error) or f"{type(error).__name__}: {error}"
            self.failed[f"{run.method}, seed {run.seed}"] = why
            return f"FAILED: {why}"
        return "done"


def _say_stage(say: Callable[[str], None], label: str, stage: str) -> None:
    say(f"{label}: {stage} ...")


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def _remaining(methods: Sequence[str], took: Sequence[tuple[str, float]]) -> float:
    """Seconds for runs of these methods: as long as that method's last run took, or the mean of all so far."""
    known = dict(took)
    mean = sum(seconds for _, seconds in took) / len(took)
    return sum(known.get(method, mean) for method in methods)
