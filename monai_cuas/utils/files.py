# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """
    Yield a temporary path beside ``path``, renamed to it when the block ends well and removed when it does not.

    The temporary name keeps the suffix, since writers choose the format by it.

    Args:
        path: final path; its folder must exist.
    """
    final = Path(path)
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
