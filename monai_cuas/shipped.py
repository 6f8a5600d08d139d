# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What comes with the package: its bundle, and weights that are asked for by name."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from .utils import CUASError

__all__ = ["DEFAULT_MODEL", "not_shipped", "packaged_bundle", "shipped_weights", "weights_path"]

DEFAULT_MODEL = "phantom"
"""The weights that are taken where none are named and none fit."""


def packaged_bundle() -> str:
    """Folder of the bundle that is installed with the package; nothing is written there."""
    return str(resources.files("monai_cuas") / "_bundle")


def shipped_weights(bundle_root: str | os.PathLike | None = None) -> dict[str, Path]:
    """
    Weights of a bundle by name, the default's first.

    Args:
        bundle_root: folder with ``models``; None: the package's own bundle.

    Returns:
        Files that are there: ``model.pt`` as "phantom", ``model_NAME.pt`` as NAME.
    """
    folder = Path(bundle_root or packaged_bundle()) / "models"
    named = {path.stem.removeprefix("model_"): path for path in sorted(folder.glob("model_*.pt"))}
    default = {DEFAULT_MODEL: folder / "model.pt"} if (folder / "model.pt").is_file() else {}
    return {**default, **{name: path for name, path in named.items() if name not in default}}


def weights_path(model: str | os.PathLike, bundle_root: str | os.PathLike | None = None) -> Path:
    """
    File of a model that is named or whose path is given; a name that is shipped goes before a file of that name.

    Args:
        model: a name of :func:`shipped_weights`, or a path. What is neither a name nor looks like a path is refused.
        bundle_root: as in :func:`shipped_weights`.

    Raises:
        CUASError: naming what is shipped.
    """
    path, known = Path(model), shipped_weights(bundle_root)
    if str(model) in known:
        return known[str(model)]
    if os.path.basename(model) == str(model) and not path.suffix and not path.is_file():
        named = f"one of {', '.join(known)}, or the path" if known else "the path"
        raise CUASError(f"There are no shipped weights '{model}'; give {named} of a weights file.")
    return path


def not_shipped(path: str | os.PathLike) -> str:
    """
    A file that thresholds may be written into: weights of the package serve everybody, and stay as they are.

    Returns:
        The path.

    Raises:
        CUASError: if it is one of the package's own weights, by whatever path or link.
    """
    if os.path.realpath(path) in {os.path.realpath(own) for own in shipped_weights().values()}:
        raise CUASError(
            f"{path}: these weights are shipped, and no file of yours: say with --output where the new one is to go "
            "(of a config: --calibrated)."
        )
    return os.fspath(path)
