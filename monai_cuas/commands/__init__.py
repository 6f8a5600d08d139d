# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Subcommands of ``python -m monai_cuas``: each module here is one, and has ``add_parser(subparsers)``."""

from __future__ import annotations
