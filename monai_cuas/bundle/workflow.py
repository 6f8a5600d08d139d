# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run one of the bundle's configs from within another one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch.distributed as dist
from monai.bundle import ConfigParser, ConfigWorkflow

from ..data.datalist import load_datalist
from ..handlers import remove_results
from ..shipped import DEFAULT_MODEL, weights_path
from ..utils import CUASError, user_message
from .overrides import parse_overrides, refuse_unknown, with_bases
from .setup import find_bundle_root

__all__ = [
    "DEFAULT_METHOD",
    "finish_training",
    "make_workflow",
    "method_overlay",
    "method_overlays",
    "run_bundle",
    "run_config",
    "scan_inputs",
]

DEFAULT_METHOD = "synthetic_anomaly"
"""Name of the method that train.json itself is; it needs no overlay."""


def make_workflow(
    files: Sequence[str], workflow_type: str, logging_file: str | None = None, **settings: Any
) -> ConfigWorkflow:
    """
    MONAI's workflow of merged configs, from within a program that has set up its logging.

    Args:
        files: paths of the configs, the base first, overlays after it.
        workflow_type: MONAI's name of the set of properties, "train" or "infer".
        logging_file: a logging config to apply; None leaves logging as it is, without MONAI's warning that it does.
        settings: further arguments of ``ConfigWorkflow``, and ids to override.
    """
    # the message comes from the constructor alone, so nothing else is silenced
    logger = logging.getLogger(ConfigWorkflow.__module__)
    level = logger.level
    if logging_file is None:
        logger.setLevel(logging.ERROR)
    try:
        return ConfigWorkflow(list(files), workflow_type=workflow_type, logging_file=logging_file or False, **settings)
    finally:
        logger.setLevel(level)


def run_config(
    bundle_root: str | os.PathLike,
    files: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    workflow_type: str = "infer",
) -> None:
    """
    Run configs of the bundle, merged in the order given, as ``python -m monai.bundle run`` would.

    Args:
        bundle_root: folder that holds ``configs/``.
        files: file names below ``configs/``, the base first, overlays after it.
        settings: ids to override.
        workflow_type: MONAI's name of the set of properties, "train" or "infer".
    """
    paths = [os.path.join(bundle_root, "configs", name) for name in files]
    overrides = {"bundle_root": os.fspath(bundle_root), **(settings or {})}
    # the file that the outer run has read already
    logging_file = os.path.join(bundle_root, "configs", "logging.conf")
    workflow = make_workflow(paths, workflow_type, logging_file if os.path.isfile(logging_file) else None, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def method_overlay(name: str, configs: str | os.PathLike) -> str:
    """
    Path of a method's overlay; empty for the method that train.json itself is.

    Args:
        name: the method's, or the path of an overlay of the user's.
        configs: the bundle's folder of configs.

    Raises:
        CUASError: if there is no such method.
    """
    if name == DEFAULT_METHOD:
        return ""
    found = {path.stem: str(path) for path in sorted(Path(configs, "methods").rglob("*.json"))}
    # what methods build on is none itself
    known = {stem: path for stem, path in found.items() if Path(path).parent.name != "base"}
    file = name if os.path.isfile(name) else known.get(name)
    if file is None:
        raise CUASError(
            f"There is no method '{name}'; the bundle has {', '.join([DEFAULT_METHOD, *known])}, or give the path of "
            "an overlay."
        )
    return os.path.abspath(file)


def method_overlays(name: str) -> list[str]:
    """
    Files of a method, the base first, below ``configs/`` or with their whole path; none for train.json's own method.

    Raises:
        CUASError: if there is no such method.
    """
    configs = os.path.join(find_bundle_root(), "configs")
    file = method_overlay(name, configs)
    files = with_bases(file, os.path.join(configs, "methods")) if file else []
    # those of the user stay where they are
    return [os.path.relpath(path, configs) if _below(path, configs) else os.path.abspath(path) for path in files]


def _below(path: str, folder: str) -> bool:
    """Whether a path lies below a folder."""
    return os.path.abspath(path).startswith(os.path.abspath(folder) + os.sep)


def run_bundle(
    files: Sequence[str],
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
    model: str | None = None,
    workflow_type: str = "infer",
) -> None:
    """
    Run configs of the bundle for a command.

    Args:
        files: file names below ``configs/``, the base first.
        settings: ids to override, from the command's own arguments.
        overrides: further arguments as ``--id value``, which are checked.
        model: weights file, or the name of shipped weights; None: the default ones, for what uses weights.
        workflow_type: MONAI's name of the set of properties, "train" or "infer".

    Raises:
        CUASError: if an override would do nothing or contradicts the recipe, or what the run itself raises.
    """
    root = find_bundle_root()
    weights = None if workflow_type == "train" else str(weights_path(model or DEFAULT_MODEL, root))
    paths = [os.path.join(root, "configs", name) for name in files]
    asked = refuse_unknown(paths, parse_overrides(overrides), weights)
    chosen = {} if weights is None else {"ckpt_path": weights}
    try:
        run_config(root, files, {**settings, **chosen, **asked}, workflow_type)
    except Exception as error:
        # a replaced part is the user's own: where it breaks the run it is named, and no traceback is shown
        parts = [key for key in asked if "#" in key or "::" in key or _replaces_part(paths, key)]
        if user_message(error) is not None or not parts:
            raise
        last: BaseException = error
        while last.__cause__ is not None:
            last = last.__cause__
        said = " ".join(str(last).split())
        raise CUASError(
            f"The run does not work with the override --{' --'.join(parts)} ({type(last).__name__}: {said}); leave it "
            "out or correct it."
        ) from error


def _replaces_part(paths: Sequence[str], key: str) -> bool:
    """Whether an override takes the place of a part of the config, or of what is taken from another part."""
    own = [ConfigParser.load_config_file(path).get(key) for path in paths]
    return any(isinstance(value, dict) or (isinstance(value, str) and value.startswith(("$@", "@"))) for value in own)


def scan_inputs(entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Entries of a data list as ``input`` of the inference config: paths, or more if channels or masks are named."""
    keys = ("image", "image_channels", "brain_mask_file")
    chosen = [{k: entry[k] for k in keys if k in entry} for entry in entries]
    return [entry if len(entry) > 1 else entry["image"] for entry in chosen]


def _leave_process_group() -> None:
    """Without the group, metrics do not wait for the results of processes that have ended."""
    idist.finalize()
    # ignite knows of the group only if something asked it for the rank
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def finish_training(
    bundle_root: str | os.PathLike,
    weights: str,
    dataset_dir: str,
    output_dir: str,
    steps: Sequence[str] = ("calibrate", "inference", "evaluate"),
    preprocessing_cache: str | None = None,
) -> None:
    """
    Do with new weights what the bundle's other configs do: set the threshold on normals, write masks of test scans.

    Ends distributed training in this process, which goes on alone. Results of an earlier model in these folders go
    first, also those of scans that are no longer in the list.

    Args:
        bundle_root: folder that holds ``configs/``.
        weights: the trained weights, with their recipe; calibration is written into them.
        dataset_dir: folder of ``dataset.json`` with a "calibration" list and, for masks, a "test_lesion" list.
        output_dir: results go to its folders ``inference`` and ``evaluation``.
        steps: any of "calibrate", "inference" and "evaluate".
        preprocessing_cache: folder of brain masks and bias fields.
    """
    _leave_process_group()
    for step, name in (("inference", "inference"), ("evaluate", "evaluation")):
        if step in steps:
            remove_results(os.path.join(output_dir, name))
    common = {"ckpt_path": weights, "dataset_dir": dataset_dir, "preprocessing_cache": preprocessing_cache}
    if "calibrate" in steps:
        run_config(bundle_root, ["inference.json", "calibrate.json"], {**common, "output_dir": output_dir})
    scans = load_datalist(os.path.join(dataset_dir, "dataset.json"), "test_lesion", allow_empty=True)
    if "inference" in steps and scans:
        ids = {"input": scan_inputs(scans), "output_dir": os.path.join(output_dir, "inference")}
        run_config(bundle_root, ["inference.json"], {**common, **ids})
    if "evaluate" in steps and scans:
        ids = {"output_dir": os.path.join(output_dir, "evaluation")}
        run_config(bundle_root, ["inference.json", "evaluate.json"], {**common, **ids})
