# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Lesions simulated into healthy scans of people: real anatomy with exact masks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.transforms import Compose

from ..data.datalist import LISTS, load_datalist
from ..io.nifti import save_nifti
from ..transforms import LoadScand
from ..utils import CUASError, require_writable, write_json
from ..utils.progress import track
from . import LESION_KINDS
from .lesions import LOOK
from .transforms import SimulateLesiond

__all__ = ["simulate_lesion_dataset"]


def simulate_lesion_dataset(
    dataset_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    modality: str,
    copies: int = 5,
    kinds: Sequence[str] = LESION_KINDS,
    seed: int = 0,
    progress: bool = True,
) -> str:
    """
    Give test scans of a data set of normals lesions, and leave the rest of it as it is.

    The first half of the subjects of the list "test_normal" stay normal; each scan of the others is copied with
    lesions, the kinds taking turns. No subject has both, so scan-level detection compares different people. The
    simulator is the phantom's (:class:`monai_cuas.phantom.transforms.SimulateLesion`).

    Args:
        dataset_dir: folder of ``dataset.json``; nothing in it is changed.
        output_dir: folder for scans, masks and a ``dataset.json`` that names the other lists' files where they lie.
        modality: "flair", "t1", "t2" or "ct": what lesions look like.
        copies: lesioned copies of each of the scans.
        kinds: kinds of lesions.
        seed: same seed, same lesions.
        progress: show a progress bar.

    Returns:
        Path of the new ``dataset.json``, which is written last.

    Raises:
        CUASError: if there are fewer than two normal test subjects, the kinds or the modality are unknown, or the
            folders cannot be used.
    """
    if modality not in LOOK:
        raise CUASError(f"Unknown modality '{modality}'; choose from {', '.join(LOOK)}.")
    source = Path(dataset_dir) / "dataset.json"
    lists = {name: load_datalist(source, name, allow_empty=True) for name in LISTS}
    subjects = list(dict.fromkeys(entry["subject"] for entry in lists["test_normal"]))
    if len(subjects) < 2 or copies < 1:
        raise CUASError(
            f"{source}: {len(subjects)} normal test subjects and {copies} copies give no lesion scans; at least two "
            "subjects and one copy are needed."
        )
    folder = Path(require_writable(output_dir))
    if folder.resolve() == Path(dataset_dir).resolve():
        raise CUASError(f"{folder}: the output must not be the data set's own folder; choose another.")
    healthy = set(subjects[: len(subjects) // 2])
    lists["test_lesion"] = _with_lesions(
        [e for e in lists["test_normal"] if e["subject"] not in healthy],
        folder,
        modality,
        copies,
        kinds,
        seed,
        progress,
    )
    lists["test_normal"] = [e for e in lists["test_normal"] if e["subject"] in healthy]
    original: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    document = {
        "name": f"{original.get('name', 'scans')} with simulated lesions",
        "description": f"lesions by monai_cuas' simulator ({modality}, seed {seed}); normals from {source}",
        "modality": original.get("modality", {"0": modality.upper()}),
        "labels": {"0": "background", "1": "lesion"},
        "tensorImageSize": "3D",
        **{f"num{name.title().replace('_', '')}": len(entries) for name, entries in lists.items()},
        **lists,
    }
    write_json(folder / "dataset.json", document)
    return str(folder / "dataset.json")


def _transform(kind: str, modality: str) -> Compose:
    try:
        return Compose([LoadScand("image"), SimulateLesiond("image", kinds=[kind], modality=modality)])
    except ValueError as error:
        raise CUASError(str(error)) from error


def _with_lesions(
    entries: Sequence[dict[str, Any]],
    folder: Path,
    modality: str,
    copies: int,
    kinds: Sequence[str],
    seed: int,
    progress: bool,
) -> list[dict[str, Any]]:
    if any(isinstance(entry["image"], (list, tuple)) for entry in entries):
        raise CUASError("Lesions are simulated into one sequence; give a data set of one.")
    jobs = [(entry, copy) for entry in entries for copy in range(copies)]
    made = []
    for number, (entry, copy) in enumerate(track(jobs, "simulated lesions", show=progress, leave=True)):
        kind = kinds[number % len(kinds)]
        # a seed for each scan: one more scan in the list changes none of the others
        data = _transform(kind, modality).set_random_state(seed + number)({"image": entry["image"]})
        name = f"{entry['subject']}_lesion{copy + 1}"
        files = {"image": f"scans/{name}.nii.gz", "label": f"scans/{name}_mask.nii.gz"}
        _save(data["image"], folder / files["image"], np.int32 if _is_whole(entry["image"]) else np.float32)
        _save(data["label"], folder / files["label"], np.uint8)
        made.append({**files, "subject": name, **data["lesion"]})
    return made


def _is_whole(path: str) -> bool:
    """Whether the file holds whole numbers."""
    if not str(path).endswith((".nii", ".nii.gz")):
        return False
    header: Any = nib.load(path).header
    return bool(np.issubdtype(header.get_data_dtype(), np.integer)) and header.get_slope_inter()[0] in (None, 1.0)


def _save(volume: Any, path: Path, dtype: type) -> None:
    array = np.asarray(volume)[0]
    if np.issubdtype(dtype, np.integer):
        # rounding must not turn brain into background
        array = np.where((array != 0) & (np.rint(array) == 0), np.sign(array), np.rint(array))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(path, array, np.asarray(volume.affine), dtype)
