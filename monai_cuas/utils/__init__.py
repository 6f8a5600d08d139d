# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from .arguments import RecordsArguments, as_plain
from .errors import CUASError, ScanError, scan_message, user_message
from .files import (
    BRAIN_MASK_SUFFIX,
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    brain_mask_beside,
    file_digest,
    is_brain_mask,
    locked,
    printable,
    replacing,
    require_writable,
    scan_stem,
    walk_files,
)
from .json_files import write_json
from .notes import add_notes, collected_notes, note, notes_of

__all__ = [
    "BRAIN_MASK_SUFFIX",
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "CUASError",
    "RecordsArguments",
    "ScanError",
    "add_notes",
    "as_plain",
    "brain_mask_beside",
    "collected_notes",
    "file_digest",
    "is_brain_mask",
    "locked",
    "note",
    "notes_of",
    "printable",
    "replacing",
    "require_writable",
    "scan_message",
    "scan_stem",
    "user_message",
    "walk_files",
    "write_json",
]
