# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Subcommands of ``python -m monai_cuas``; each module offers ``add_parser(subparsers)`` and is found by name."""

from __future__ import annotations
