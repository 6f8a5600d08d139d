# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Data: phantom cohort, datalists, readers. Import what you need from the submodules; this file imports nothing."""

from __future__ import annotations
