# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How much time and memory a piece of work takes."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from pathlib import Path
from types import TracebackType

import torch

__all__ = ["Usage"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _peak_mb() -> float:
    """Largest resident memory of this process since the last reset, in MB."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows has no such module
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


class Usage:
    """
    Context that measures wall time and peak memory.

    On Linux the kernel's high-water mark is reset first, so that the peak is this block's own; elsewhere it is the
    whole process's so far. The memory of imported libraries is part of it.

    Attributes:
        seconds: wall time.
        peak_mb: peak resident memory of the process, MB; NaN where the system does not tell.
        peak_gpu_mb: peak of the tensors on the current CUDA device, MB; 0 without one.
    """

    seconds = peak_mb = peak_gpu_mb = 0.0

    def __enter__(self) -> Usage:
        # not Linux, or not allowed: the peak of the whole process it is
        with contextlib.suppress(OSError):
            _RESET.write_text("5")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds, self.peak_mb = time.perf_counter() - self._start, _peak_mb()
        self.peak_gpu_mb = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
