# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""PaDiM and PatchCore of anomalib, in an environment of its own; ``worker.py`` is what runs there."""

from __future__ import annotations
