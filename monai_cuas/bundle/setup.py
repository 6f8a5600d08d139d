# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What every config of the bundle runs first."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType

from monai.utils import set_determinism

from ..handlers import remove_checkpoints
from ..shipped import packaged_bundle
from ..utils import require_writable, user_message
from .overrides import check_overrides

__all__ = ["find_bundle_root", "find_work_dir", "install_excepthook", "setup"]


def install_excepthook() -> None:
    """Let the command line show the one sentence of a :class:`CUASError` instead of a stack trace; exit code 1."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = user_message(error)
        if message is None:
            sys.__excepthook__(kind, error, trace)
        else:
            print(f"monai_cuas: error: {message}", file=sys.stderr)

    sys.excepthook = show


def find_bundle_root(places: Sequence[str] = (".", "bundles/cuas")) -> str:
    """
    Find the bundle from the working directory, as a config does not know its own path.

    Args:
        places: folders to look in, relative to the working directory: the bundle itself, then the repository's root.

    Returns:
        The first of them that holds ``configs/metadata.json``, or else the bundle that the package carries.
    """
    install_excepthook()
    found = (place for place in places if os.path.isfile(os.path.join(place, "configs", "metadata.json")))
    return next(found, packaged_bundle())


def find_work_dir(bundle_root: str) -> str:
    """Folder for what runs write by default: the bundle's own, or the working directory for the package's bundle."""
    return "." if os.fspath(bundle_root) == packaged_bundle() else os.fspath(bundle_root)


def setup(
    seed: int | None = None,
    output_dir: str | os.PathLike | None = None,
    ckpt_path: str | os.PathLike | None = None,
    begin_in: str | os.PathLike | None = None,
) -> None:
    """
    Prepare a run of the bundle: error messages, override check, output folder, determinism.

    Args:
        seed: seeds Python, NumPy and PyTorch; None leaves them alone.
        output_dir: made if needed; None if the run writes nothing.
        ckpt_path: the weights file of an inference, whose recipe no override may contradict.
        begin_in: folder of the checkpoints of a training that begins anew: those of an earlier run go, and its best
            weights, before scans are read or made; None: nothing is removed.

    Raises:
        CUASError: for a misspelt or contradicting override or a folder that cannot be written.
    """
    install_excepthook()
    check_overrides(ckpt_path=ckpt_path)
    if output_dir is not None:
        require_writable(output_dir)
    if begin_in is not None:
        remove_checkpoints(begin_in, [os.path.join(begin_in, "best.pt")])
    if seed is not None:
        set_determinism(seed=seed)
