# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from ..utils import require_writable
from .overrides import check_overrides, unknown_ids, with_bases
from .setup import find_bundle_root, install_excepthook, setup
from .workflow import finish_training, make_workflow, run_config

__all__ = [
    "check_overrides",
    "find_bundle_root",
    "finish_training",
    "install_excepthook",
    "make_workflow",
    "require_writable",
    "run_config",
    "setup",
    "unknown_ids",
    "with_bases",
]
