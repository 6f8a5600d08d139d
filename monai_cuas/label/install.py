# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The app's folder: a main.py of one import, and a copy of the bundle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..recipe import read_model
from ..shipped import packaged_bundle, weights_path
from ..utils import CUASError, write_json

__all__ = ["write_app"]

_MAIN = '''"""The app of monai_cuas; its code is in the installed package."""

from monai_cuas.label.app import CUASApp  # noqa: F401
'''


def write_app(
    output: str | os.PathLike, bundle: str | os.PathLike | None = None, model: str | os.PathLike | None = None
) -> Path:
    """
    Write the folder that ``monailabel start_server --app`` takes.

    Args:
        output: a new or empty folder.
        bundle: a bundle with weights; the package's own if None.
        model: weights to serve: a name of the bundle's, or a file, which is copied; None: ``models/model.pt``.

    Returns:
        The folder.

    Raises:
        CUASError: if the folder holds something, the bundle has no weights, or the model is none that can be used.
    """
    folder, source = Path(output), Path(bundle) if bundle is not None else Path(packaged_bundle())
    if folder.exists() and any(folder.iterdir()):
        raise CUASError(f"{folder}: this folder is not empty; choose another --output.")
    for needed in ("configs/inference.json", "configs/train.json", "configs/calibrate.json", "models/model.pt"):
        if not (source / needed).is_file():
            raise CUASError(f"{source}: there is no {needed}; give a bundle with weights.")
    weights = None if model is None else read_model(weights_path(model, source)).path
    target = folder / "model" / "cuas"
    target.mkdir(parents=True)
    shutil.copytree(source / "configs", target / "configs")
    (target / "models").mkdir()
    for file in (source / "models").glob("model*"):
        shutil.copy(file, target / "models" / file.name)
    if weights is not None:
        write_json(target / "served.json", {"weights": _brought(weights, source, target)})
    (folder / "main.py").write_text(_MAIN, encoding="utf-8")
    return folder


def _brought(weights: Path, source: Path, target: Path) -> str:
    """Place of weights in the app's bundle: a shipped one is there already, another one is copied."""
    if weights.parent == source / "models":
        return f"models/{weights.name}"
    place = target / "versions" / "given" / "model.pt"
    place.parent.mkdir(parents=True)
    shutil.copy(weights, place)
    return str(place.relative_to(target))
