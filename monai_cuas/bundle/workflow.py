# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run one of the bundle's configs from within another one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigWorkflow

from ..utils import replacing

__all__ = ["run_config", "write_settings"]


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
    workflow = ConfigWorkflow(config_file=paths, workflow_type=workflow_type, logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def write_settings(path: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """
    Write ids as a config overlay, so that later runs can name one file in place of many overrides.

    Args:
        path: JSON file to write; replaced in one step.
        settings: ids and their values (numbers, strings, lists, None).
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
