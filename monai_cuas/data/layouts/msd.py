# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Medical Segmentation Decathlon, Task01_BrainTumour: ``dataset.json`` and files of four channels each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_cuas.utils import CUASError

from .base import ReadReport, ScanEntry, folder_of, sequence_names, stem_of

__all__ = ["detect_msd", "read_msd"]

_TASK = "Task01_BrainTumour"
_ALIASES = {"t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}
_SAME_CASES = (
    "Task01 consists of cases of BraTS 2016 and 2017: do not test on it what was trained on any BraTS, nor on BraTS "
    "what was trained on it. Its names do not tell which cases are of one patient, so it is split by case."
)


def _root(folder: Path) -> Path:
    return folder / _TASK if (folder / _TASK).is_dir() else folder


def detect_msd(folder: Path) -> bool:
    """Tell whether the folder holds ``dataset.json`` beside ``imagesTr/``."""
    root = _root(folder)
    return (root / "dataset.json").is_file() and (root / "imagesTr").is_dir()


def _download(folder: Path) -> None:
    """Fetch and unpack the archive with MONAI (7 GB), unless it is there."""
    from monai.apps import DecathlonDataset

    root = folder.parent if folder.name == _TASK else folder
    try:
        os.makedirs(root, exist_ok=True)
        DecathlonDataset(root, _TASK, "training", download=True, cache_rate=0.0)
    except (OSError, RuntimeError, ValueError) as error:
        problem = str(error).split("\n")[0]
        raise CUASError(f"{root}: the download failed ({problem}); unpack {_TASK}.tar there by hand.") from error


def _contents(root: Path) -> tuple[list[dict[str, str]], dict[str, int], int]:
    """Training entries, channel by sequence, number of test cases.

    Raises:
        CUASError: there is no such file or it is of another task.
    """
    path = root / "dataset.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name).lower() for _, name in sorted(content["modality"].items(), key=lambda item: int(item[0]))]
        channels = {_ALIASES.get(name, name): number for number, name in enumerate(names)}
        entries = [{"image": str(item["image"]), "label": str(item["label"])} for item in content["training"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CUASError(f"{path}: not the dataset.json of {_TASK}; name its folder, or add --download.") from error
    if "flair" not in channels:
        raise CUASError(f"{path}: has the modalities {', '.join(names)}; only {_TASK} of the decathlon can be read.")
    return entries, channels, len(content.get("test", []))


def read_msd(folder: str | Path, sequences: Sequence[str] | None = None, download: bool = False) -> ReadReport:
    """Read Task01_BrainTumour; every case has a tumour, all of whose parts are lesion.

    Args:
        folder: the task's folder, or the one above it.
        sequences: of flair, t1, t1ce (t1gd), t2; default flair. They become "image_channels" of the entries.
        download: fetch the data into the folder first.

    Raises:
        CUASError: nothing fits, or the download fails.
    """
    if download:
        _download(Path(os.path.abspath(folder)))
    report = ReadReport("msd_task01", folder_of(folder))
    root = _root(report.folder)
    entries, channels, n_test = _contents(root)
    asked = [_ALIASES.get(name.lower(), name.lower()) for name in sequences or ["flair"]]
    names = sequence_names(asked, channels, "flair", report.layout)
    report.warnings.append(_SAME_CASES)
    for item in entries:
        image, label = (Path(os.path.normpath(root / item[key])) for key in ("image", "label"))
        missing = next((path for path in (image, label) if not path.is_file()), None)
        if missing is not None:
            report.leave_out(missing, "named in dataset.json, but there is no such file")
            continue
        extra = {"image_channels": [channels[name] for name in names], "kind": "glioma"}
        report.add(ScanEntry((image,), stem_of(image), "lesion", label, extra=extra))
    if n_test:
        report.warnings.append(f"{n_test} test cases have no published mask and are left out.")
    return report.required("Task01_BrainTumour/imagesTr/BRATS_001.nii.gz")
