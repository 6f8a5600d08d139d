# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What every config of the bundle runs first."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from monai.utils import set_determinism

from ..utils import require_writable, user_message
from .overrides import check_overrides

__all__ = ["install_excepthook", "setup"]


def install_excepthook() -> None:
    """Let the command line show the one sentence of a :class:`CUASError` instead of a stack trace; exit code 1."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = user_message(error)
        if message is None:
            sys.__excepthook__(kind, error, trace)
        else:
            print(f"monai_cuas: error: {message}", file=sys.stderr)

    sys.excepthook = show


def setup(seed: int | None = None, output_dir: str | os.PathLike | None = None) -> None:
    """
    Prepare a run of the bundle: error messages, override check, output folder, determinism.

    Args:
        seed: seeds Python, NumPy and PyTorch; None leaves them alone.
        output_dir: made if needed; None if the run writes nothing.

    Raises:
        CUASError: for a misspelt override or a folder that cannot be written.
    """
    install_excepthook()
    check_overrides()
    if output_dir is not None:
        require_writable(output_dir)
    if seed is not None:
        set_determinism(seed=seed)
