# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scripts of ``benchmarks/real``, which are no package, as modules for tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "benchmarks" / "real"


@contextmanager
def benchmark(name: str) -> Iterator[ModuleType]:
    """A script, imported as if it were run; it and what it shares with others are forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
        for module in set(sys.modules) - before:
            if getattr(sys.modules[module], "__file__", None) and Path(sys.modules[module].__file__).parent == FOLDER:
                del sys.modules[module]
