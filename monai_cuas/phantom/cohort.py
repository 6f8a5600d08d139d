# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Phantom subjects on disk: a BIDS-like folder of NIfTI files and a Decathlon-style ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..io.nifti import save_nifti
from ..utils import CUASError, replacing, write_json
from ..utils.progress import track
from .acquisition import acquire, thick_slices
from .anatomy import CONTRASTS, simulate_brain
from .lesions import LESION_KINDS, simulate_lesion

__all__ = ["DEFAULT_SPLITS", "Subject", "make_phantom_cohort", "make_phantom_subject", "split_counts"]

GENERATOR = "monai_cuas phantom"
# Raised whenever the same seed would no longer give the same bytes.
VERSION = 2
DEFAULT_SPLITS = {"training": 0.55, "calibration": 0.20, "validation": 0.10, "test_normal": 0.15}
SUFFIX = {"flair": "FLAIR", "t1": "T1w", "t2": "T2w", "ct": "CT"}
_SPACING_RANGE = (1.0, 8.0)


@dataclass
class Subject:
    """A phantom scan.

    Attributes:
        image: (X, Y, Z) int16, 0 outside the brain and at least 1 inside.
        label: (X, Y, Z) uint8 lesion mask, or None for a normal.
        affine: (4, 4), voxel to world (RAS, mm).
        record: "kind", "size_mm", "contrast", "volume_ml", "n_lesions"; empty for a normal.
    """

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    record: dict[str, Any]


def make_phantom_subject(
    seed: int,
    index: int,
    kind: str | None = None,
    contrast: str = "flair",
    spacing: float = 2.0,
    thick: bool = False,
    oblique: bool = False,
    size_mm: float | None = None,
    lesion_contrast: float | None = None,
) -> Subject:
    """
    Make one subject of a cohort; it depends on the seed and its index, not on the cohort's size.

    Args:
        seed: the cohort's seed.
        index: number of the subject among the normals or among the lesioned.
        kind: lesion kind, or None for a normal.
        contrast: "flair", "t1", "t2" or "ct".
        spacing: in-plane voxel size in mm.
        thick: average slices to a thickness of some 5 to 6 mm.
        oblique: turn the scan's axes by up to 20 degrees against the world's.
        size_mm: wanted lesion diameter in mm; drawn if None.
        lesion_contrast: wanted lesion contrast; drawn if None.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, index, int(kind is not None))))
    brain = simulate_brain(rng, contrast, spacing, oblique)
    step, mask = np.full(3, spacing), brain.brain > 0.5
    record: dict[str, Any] = {}
    image, fraction = brain.image, np.zeros_like(brain.image)
    if kind is not None:
        # Noise is the scanner's, added to the whole scan later.
        image, fraction, record = simulate_lesion(
            image, mask, step, kind, rng, contrast, size_mm, lesion_contrast, brain.tissue, brain.depth, noise_std=0.0
        )
    affine = brain.affine
    if thick:
        factor = max(2, round(5.5 / spacing))
        (image, fraction, part), affine = thick_slices([image, fraction, brain.brain], affine, factor)
        mask = part > 0.5
        step = step * (1, 1, factor)
    scan = acquire(image, mask, contrast, rng)
    label = None
    if kind is not None:
        label = ((fraction > 0.5) & mask).astype(np.uint8)
        if thick:
            record = _remeasured(record, label, step)
    return Subject(scan, label, affine, record)


def _remeasured(record: dict[str, Any], label: np.ndarray, step: np.ndarray) -> dict[str, Any]:
    """Sizes on the thick slices; the contrast stays that of the lesion before averaging."""
    from .lesions import lesion_record

    zero = np.zeros(label.shape, dtype=np.float32)
    return {**record, **lesion_record(label, zero, zero, 1.0, step), "contrast": record["contrast"]}


def split_counts(total: int, splits: Mapping[str, float] | None = None) -> dict[str, int]:
    """
    Share normals among the splits.

    Every split gets one subject and calibration three, as far as there are enough; the rest follows the fractions,
    training taking what rounding leaves.

    Args:
        total: number of normals.
        splits: fraction of each split; ``DEFAULT_SPLITS`` if None.
    """
    wanted = dict(DEFAULT_SPLITS if splits is None else splits)
    if not wanted or any(f < 0 for f in wanted.values()) or not sum(wanted.values()):
        raise CUASError("The splits of a phantom cohort need fractions that are not negative and not all zero.")
    whole = sum(wanted.values())
    names = [name for name, fraction in wanted.items() if fraction > 0]
    least = {name: 3 if name == "calibration" and total >= len(names) + 2 else 1 for name in names}
    counts = dict.fromkeys(wanted, 0)
    left = total
    for name in names:
        share = max(least[name], round(total * wanted[name] / whole))
        counts[name] = min(share, left)
        left -= counts[name]
    first = names[0]
    counts[first] += left
    # What early splits took too much is given to later ones that would be below their least.
    for name in names[1:]:
        lack = least[name] - counts[name]
        given = max(0, min(lack, counts[first] - least[first]))
        counts[name] += given
        counts[first] -= given
    return counts


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(path, data, affine, data.dtype.type)


def _write_subject(folder: Path, name: str, suffix: str, subject: Subject) -> dict[str, Any]:
    """Write a subject's files and return its entry of the datalist."""
    image = f"{name}/anat/{name}_{suffix}.nii.gz"
    _save(folder / image, subject.image, subject.affine)
    entry: dict[str, Any] = {"image": image}
    if subject.label is not None:
        entry["label"] = f"derivatives/lesion_masks/{name}/anat/{name}_label-lesion_mask.nii.gz"
        _save(folder / entry["label"], subject.label, subject.affine)
    return {**entry, "subject": name, **subject.record}


def _parameters(
    normals: int, lesions: int, contrast: str, seed: int, spacing: float, splits: Mapping[str, float] | None,
    thick: bool, oblique: bool, kinds: Sequence[str] | None,
) -> dict[str, Any]:  # fmt: skip
    """Check the arguments and return them as recorded in ``dataset.json``."""
    if contrast not in CONTRASTS:
        raise CUASError(f"Unknown contrast '{contrast}'; choose one of {', '.join(CONTRASTS)}.")
    chosen = list(LESION_KINDS if kinds is None else kinds)
    unknown = [k for k in chosen if k not in LESION_KINDS]
    if unknown or not chosen:
        raise CUASError(f"Unknown lesion kinds {unknown}; choose among {', '.join(LESION_KINDS)}.")
    if normals < 0 or lesions < 0 or normals + lesions == 0:
        raise CUASError(f"A phantom cohort needs at least one subject, not {normals} normals and {lesions} lesioned.")
    if not _SPACING_RANGE[0] <= spacing <= _SPACING_RANGE[1]:
        raise CUASError(f"The phantom's voxel size must be 1 to 8 mm, not {spacing:g}.")
    if seed < 0:
        raise CUASError(f"The seed must not be negative, and it is {seed}.")
    return {
        "generator": GENERATOR, "version": VERSION, "normals": int(normals), "lesions": int(lesions),
        "contrast": contrast, "seed": int(seed), "spacing": float(spacing),
        "splits": dict(DEFAULT_SPLITS if splits is None else splits), "thick_slices": bool(thick),
        "oblique": bool(oblique), "lesion_kinds": chosen,
    }  # fmt: skip


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All entries of a phantom's ``dataset.json``."""
    return [e for value in document.values() if isinstance(value, list) for e in value if isinstance(e, dict)]


def _existing(index: Path) -> dict[str, Any] | None:
    """The phantom's ``dataset.json`` that is there, or None; refuses one of another making."""
    if not index.exists():
        return None
    try:
        document = json.loads(index.read_text())
        made_here = document["phantom"]["generator"] == GENERATOR
    except (ValueError, KeyError, TypeError, OSError):
        made_here = False
    if not made_here:
        raise CUASError(f"{index}: is not a phantom cohort's; choose another output folder, nothing was written.")
    return document


def _files(document: Mapping[str, Any]) -> list[str]:
    return [entry[key] for entry in _entries(document) for key in ("image", "label") if key in entry]


def _remove_old(folder: Path, document: Mapping[str, Any]) -> None:
    """Remove the files of an earlier cohort, its index first, so that no half of it can be taken for whole."""
    (folder / "dataset.json").unlink()
    for file in _files(document):
        path = folder / file
        if ".." not in Path(file).parts and not Path(file).is_absolute():
            path.unlink(missing_ok=True)


def _document(parameters: dict[str, Any], normals: list[dict], lesions: list[dict]) -> dict[str, Any]:
    """Content of ``dataset.json``."""
    document: dict[str, Any] = {
        "name": f"phantom_{parameters['contrast']}",
        "description": "Synthetic brains from the ICBM-152 tissue maps; no substitute for real scans.",
        "reference": "ICBM 152 nonlinear symmetric 2009a (Fonov et al. 2011), as carried by nilearn",
        "licence": "ICBM-152 licence (McConnell Brain Imaging Centre); simulation Apache-2.0",
        "tensorImageSize": "3D",
        "modality": {"0": SUFFIX[parameters["contrast"]]},
        "labels": {"0": "background", "1": "lesion"},
        "phantom": parameters,
    }
    first = 0
    for name, count in split_counts(len(normals), parameters["splits"]).items():
        document[name] = normals[first : first + count]
        first += count
    document["test_lesion"] = lesions
    for name in (*parameters["splits"], "test_lesion"):
        document["num" + "".join(part.capitalize() for part in name.split("_"))] = len(document[name])
    return document


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def make_phantom_cohort(
    output_dir: str | Path,
    normals: int,
    lesions: int,
    contrast: str = "flair",
    seed: int = 0,
    spacing: float = 2.0,
    splits: Mapping[str, float] | None = None,
    thick_slices: bool = False,
    oblique: bool = False,
    lesion_kinds: Sequence[str] | None = None,
    progress: bool = True,
) -> str:
    """
    Make a phantom cohort, unless that very cohort is already there.

    Args:
        output_dir: folder for the cohort; made if it does not exist. A phantom cohort made with other parameters is
            replaced; a ``dataset.json`` of another making is never touched.
        normals: number of healthy subjects.
        lesions: number of subjects with lesions; the kinds take turns.
        contrast: "flair", "t1", "t2" or "ct".
        seed: the same seed gives the same bytes, and the first subjects of a larger cohort are those of a smaller.
        spacing: voxel size in mm, 1 to 8.
        splits: fraction of the normals in each split; ``DEFAULT_SPLITS`` if None.
        thick_slices: average slices to a thickness of some 5 to 6 mm.
        oblique: turn each scan's axes by up to 20 degrees against the world's.
        lesion_kinds: kinds among ``LESION_KINDS``; all if None.
        progress: show a progress bar.

    Returns:
        path of ``dataset.json``, which is written last.

    Raises:
        CUASError: for arguments that make no cohort, or a folder that cannot be used.
    """
    parameters = _parameters(normals, lesions, contrast, seed, spacing, splits, thick_slices, oblique, lesion_kinds)
    split_counts(normals, splits)
    folder = Path(output_dir)
    index = folder / "dataset.json"
    old = _existing(index)
    if old is not None and old["phantom"] == parameters and all((folder / f).is_file() for f in _files(old)):
        return str(index)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if old is not None:
            _remove_old(folder, old)
        _generate(folder, parameters, progress)
    except OSError as error:
        raise CUASError(f"{folder}: the cohort cannot be written ({error.strerror or error}).") from error
    return str(index)


def _generate(folder: Path, parameters: dict[str, Any], progress: bool) -> None:
    """Make all subjects, then the index."""
    kinds = parameters["lesion_kinds"]
    plan: list[tuple[str, int, str | None]] = [(f"sub-N{i + 1:04d}", i, None) for i in range(parameters["normals"])]
    plan += [(f"sub-L{i + 1:04d}", i, kinds[i % len(kinds)]) for i in range(parameters["lesions"])]
    normals: list[dict] = []
    diseased: list[dict] = []
    for name, number, kind in track(plan, "phantom cohort", show=progress, leave=True, unit="scan"):
        subject = make_phantom_subject(
            parameters["seed"], number, kind, parameters["contrast"], parameters["spacing"],
            parameters["thick_slices"], parameters["oblique"],
        )  # fmt: skip
        entry = _write_subject(folder, name, SUFFIX[parameters["contrast"]], subject)
        (normals if kind is None else diseased).append(entry)
    bids = {"Name": "monai_cuas phantom cohort", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    write_json(folder / "dataset_description.json", bids)
    rows = ["participant_id\tgroup", *(f"{e['subject']}\t{e.get('kind', 'normal')}" for e in normals + diseased)]
    _write_text(folder / "participants.tsv", "\n".join(rows) + "\n")
    document = _document(parameters, normals, diseased)
    write_json(folder / "dataset.json", document, indent=1)
