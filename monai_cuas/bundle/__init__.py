# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from ..utils import require_writable
from .overrides import check_overrides, parse_overrides, refuse_unknown, unknown_ids, with_bases
from .setup import find_bundle_root, find_work_dir, install_excepthook, setup
from .start_weights import start_digest, start_weights
from .workflow import (
    DEFAULT_METHOD,
    finish_training,
    make_workflow,
    method_overlay,
    method_overlays,
    run_bundle,
    run_config,
)

__all__ = [
    "DEFAULT_METHOD",
    "check_overrides",
    "find_bundle_root",
    "find_work_dir",
    "finish_training",
    "install_excepthook",
    "make_workflow",
    "method_overlay",
    "method_overlays",
    "parse_overrides",
    "refuse_unknown",
    "require_writable",
    "run_bundle",
    "run_config",
    "setup",
    "start_digest",
    "start_weights",
    "unknown_ids",
    "with_bases",
]
