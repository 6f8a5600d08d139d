# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The app's folder: a main.py of one import, and a copy of the bundle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..shipped import packaged_bundle
from ..utils import CUASError

__all__ = ["write_app"]

_MAIN = '''"""The app of monai_cuas; its code is in the installed package."""

from monai_cuas.label.app import CUASApp  # noqa: F401
'''


def write_app(output: str | os.PathLike, bundle: str | os.PathLike | None = None) -> Path:
    """
    Write the folder that ``monailabel start_server --app`` takes.

    Args:
        output: a new or empty folder.
        bundle: a bundle with weights; the package's own if None.

    Returns:
        The folder.

    Raises:
        CUASError: if the folder holds something, or the bundle has no weights.
    """
    folder, source = Path(output), Path(bundle) if bundle is not None else Path(packaged_bundle())
    if folder.exists() and any(folder.iterdir()):
        raise CUASError(f"{folder}: this folder is not empty; choose another --output.")
    for needed in ("configs/inference.json", "configs/train.json", "configs/calibrate.json", "models/model.pt"):
        if not (source / needed).is_file():
            raise CUASError(f"{source}: there is no {needed}; give a bundle with weights.")
    target = folder / "model" / "cuas"
    target.mkdir(parents=True)
    shutil.copytree(source / "configs", target / "configs")
    (target / "models").mkdir()
    for file in (source / "models").glob("model*"):
        shutil.copy(file, target / "models" / file.name)
    (folder / "main.py").write_text(_MAIN, encoding="utf-8")
    return folder
