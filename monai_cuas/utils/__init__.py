# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .errors import CUASError, ScanError, user_message
from .files import PICTURE_SUFFIXES, replacing, require_writable

__all__ = ["PICTURE_SUFFIXES", "CUASError", "ScanError", "replacing", "require_writable", "user_message"]
