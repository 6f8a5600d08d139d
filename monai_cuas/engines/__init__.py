# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .utils import PrepareBatchMasked

__all__ = ["PrepareBatchMasked"]
