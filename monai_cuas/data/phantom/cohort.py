# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A cohort of phantom scans on disk: BIDS-like folders, a Decathlon-style datalist, the same bytes for a seed."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.transforms import RandBiasField, RandGaussianNoise, RandRicianNoise
from tqdm import tqdm

from ...utils import CUASError, replacing
from .anatomy import CONTRASTS, Phantom, simulate_brain
from .lesions import LESION_KINDS, lesion_record, simulate_lesion

__all__ = ["DEFAULT_SPLITS", "Subject", "make_phantom_cohort", "make_phantom_subject", "split_counts"]

DEFAULT_SPLITS = {"training": 0.55, "calibration": 0.20, "validation": 0.10, "test_normal": 0.15}
SPLIT_NAMES = (*DEFAULT_SPLITS, "test_lesion")
SUFFIX = {"flair": "FLAIR", "t1": "T1w", "t2": "T2w", "ct": "ct"}
# Raised when the same parameters would give other voxels, so that old cohorts are made anew.
GENERATOR_VERSION = 1
_DRAWS = 20


@dataclass
class Subject:
    """A finished scan.

    Attributes:
        image: (X, Y, Z) int16, 0 outside the brain and positive inside; Hounsfield units for CT, arbitrary for MRI.
        label: (X, Y, Z) uint8 lesion mask, or None for a healthy subject.
        affine: (4, 4) float64, voxel to world (RAS, mm).
        record: "kind", "size_mm", "contrast", "volume_ml", "n_lesions"; empty for a healthy subject.
    """

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    record: dict


def _state(rng: np.random.Generator) -> np.random.RandomState:
    return np.random.RandomState(int(rng.integers(2**31)))


def _thicken(volume: np.ndarray, factor: int) -> np.ndarray:
    """Mean over groups of ``factor`` slices of the last axis (incomplete groups are padded with zeros)."""
    padded = np.pad(volume, ((0, 0), (0, 0), (0, -volume.shape[2] % factor)))
    return padded.reshape(*padded.shape[:2], -1, factor).mean(axis=3)


def _thick_phantom(phantom: Phantom, image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, brain mask and affine with slices ``factor`` times as thick."""
    brain = phantom.brain > 0.5
    share = _thicken(brain.astype(np.float32), factor)
    mask = share > 0.5
    # Dividing by the share of brain keeps the rim of a skull-stripped scan from fading into the empty background.
    thick = np.where(mask, _thicken(image, factor) / np.maximum(share, 0.5), 0.0)
    affine = phantom.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (factor - 1) / 2.0
    affine[:3, 2] *= factor
    return thick, mask, affine


def _edge_slices(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain of each slice (Z,): now and then the outermost slices of the brain are brighter or darker."""
    gain = np.ones(mask.shape[2])
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    for edge in (filled, filled[::-1]):
        count, change = int(rng.integers(1, 4)), rng.uniform(-0.3, 0.3)
        if rng.uniform() < 0.5:
            gain[edge[:count]] *= 1.0 + change * np.linspace(1.0, 0.4, count)[: len(edge)]
    return gain


def _acquire(image: np.ndarray, mask: np.ndarray, contrast: str, rng: np.random.Generator) -> np.ndarray:
    """Bias field, edge slices, noise and intensity scale: what the scanner adds. int16, positive in the mask."""
    solid = float(np.percentile(image[mask], 75.0))
    noisy = image.astype(np.float32)[None]
    if contrast == "ct":
        noise = RandGaussianNoise(prob=1.0, std=float(rng.uniform(1.5, 3.0)), sample_std=False)
        scale = 1.0
    else:
        bias = RandBiasField(degree=3, coeff_range=(-0.08, 0.08), prob=1.0)
        bias.set_random_state(state=_state(rng))
        noisy = np.asarray(bias(noisy)) * _edge_slices(mask, rng).astype(np.float32)
        noise = RandRicianNoise(prob=1.0, std=float(solid * rng.uniform(0.015, 0.05)), sample_std=False)
        scale = float(np.exp(rng.uniform(np.log(200.0), np.log(4000.0)))) / solid
    noise.set_random_state(state=_state(rng))
    noisy = np.asarray(noise(noisy))[0]
    return np.where(mask, np.clip(np.round(noisy * scale), 1, 32767), 0).astype(np.int16)


def make_phantom_subject(
    index: int,
    kind: str | None = None,
    contrast: str = "flair",
    seed: int = 0,
    spacing: float = 2.0,
    thick_slices: bool = False,
    oblique: bool = False,
) -> Subject:
    """
    Make one subject, which depends on nothing but the arguments.

    Args:
        index: number of the subject among the healthy or among the lesioned ones.
        kind: kind of lesion, one of ``LESION_KINDS``, or None for a healthy subject.
        contrast: "flair", "t1", "t2" or "ct".
        seed: seed of the cohort.
        spacing: voxel size in mm.
        thick_slices: slices two or three times as thick as the voxels are wide.
        oblique: scan axes turned against the world's.

    Raises:
        CUASError: if no lesion of the kind fits on so coarse a grid.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, index, int(kind is not None))))
    phantom = simulate_brain(rng, contrast, spacing, oblique)
    factor = int(rng.integers(2, 4)) if thick_slices else 1
    image, fraction, record = phantom.image, None, {}
    for _ in range(_DRAWS if kind is not None else 0):
        image, fraction, record = simulate_lesion(
            phantom.image, phantom.brain > 0.5, (spacing,) * 3, str(kind), rng,
            modality=contrast, tissue=phantom.tissue, depth=phantom.depth, noise_std=0.0,
        )  # fmt: skip
        fraction = _thicken(fraction, factor)
        if (fraction > 0.5).any():
            break
    thick, mask, affine = _thick_phantom(phantom, image, factor)
    label = None
    if fraction is not None:
        label = ((fraction > 0.5) & mask).astype(np.uint8)
        if not label.any():
            raise CUASError(f"No {kind} fits on a {spacing} mm grid for subject {index}; choose a smaller spacing.")
        size = lesion_record(label, thick, thick, 1.0, (spacing, spacing, spacing * factor))
        record = {"kind": kind, **size, "contrast": record["contrast"]}
    return Subject(_acquire(thick, mask, contrast, rng), label, affine, record)


def split_counts(normals: int, splits: Mapping[str, float] | None = None) -> dict[str, int]:
    """
    Share healthy subjects among the splits: at least one each, and three for calibration where possible.

    Args:
        normals: number of healthy subjects, at least 4.
        splits: fraction for each of "training", "calibration", "validation", "test_normal".

    Raises:
        CUASError: for fewer than 4 subjects or fractions that are not four numbers with sum 1.
    """
    wanted = dict(DEFAULT_SPLITS if splits is None else splits)
    if set(wanted) != set(DEFAULT_SPLITS) or min(wanted.values()) < 0 or abs(sum(wanted.values()) - 1.0) > 1e-6:
        raise CUASError(f"splits must give a fraction for each of {', '.join(DEFAULT_SPLITS)}, with sum 1.")
    if normals < 4:
        raise CUASError(f"A cohort needs at least 4 normals, one for each split, not {normals}.")
    counts = {name: max(1, int(round(normals * share))) for name, share in wanted.items() if name != "training"}
    if normals >= 6:
        counts["calibration"] = max(3, counts["calibration"])
    while sum(counts.values()) > normals - 1:
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] -= 1
    return {"training": normals - sum(counts.values()), **counts}


def _write_nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write gzip without time stamp and file name, so that the same voxels give the same bytes."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())


def _write_json(path: Path, content: dict) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _paths(name: str, contrast: str) -> tuple[str, str]:
    image = f"{name}/anat/{name}_{SUFFIX[contrast]}.nii.gz"
    return image, f"derivatives/lesion_masks/{name}/anat/{name}_label-lesion_mask.nii.gz"


def _write_subject(root: Path, name: str, subject: Subject, contrast: str) -> dict:
    """Write a subject's files and return its datalist entry."""
    image, label = _paths(name, contrast)
    entry = {"image": image, "subject": name}
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    _write_nifti(root / image, subject.image, subject.affine)
    if subject.label is not None:
        entry["label"] = label
        (root / label).parent.mkdir(parents=True, exist_ok=True)
        _write_nifti(root / label, subject.label, subject.affine)
    return {**entry, **subject.record}


def _files(dataset: dict) -> list[str]:
    entries = [e for name in SPLIT_NAMES for e in dataset.get(name, [])]
    return [e[key] for e in entries for key in ("image", "label") if key in e]


def _is_complete(path: Path, parameters: dict) -> bool:
    """True if that very cohort is there; the files of another phantom cohort are removed."""
    if not path.exists():
        return False
    try:
        dataset = json.loads(path.read_text())
        there = dataset["phantom"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise CUASError(f"{path}: is not the datalist of a phantom cohort; choose another output folder.") from None
    if there == parameters and all((path.parent / f).is_file() for f in _files(dataset)):
        return True
    path.unlink()
    for file in _files(dataset):
        target = (path.parent / file).resolve()
        if target.is_relative_to(path.parent.resolve()):
            target.unlink(missing_ok=True)
    return False


def _check(normals: int, lesions: int, contrast: str, seed: int, spacing: float, kinds: Sequence[str]) -> None:
    if contrast not in CONTRASTS:
        raise CUASError(f"Unknown contrast {contrast!r}; choose one of {', '.join(CONTRASTS)}.")
    unknown = [k for k in kinds if k not in LESION_KINDS]
    if unknown or not kinds:
        raise CUASError(
            f"Unknown lesion kinds {', '.join(unknown) or '(none)'}; choose from {', '.join(LESION_KINDS)}."
        )
    if lesions < 0:
        raise CUASError(f"The number of lesioned subjects must not be negative, and is {lesions}.")
    if not 1.0 <= spacing <= 6.0:
        raise CUASError(f"The spacing must be between 1 and 6 mm, and is {spacing}.")
    if seed < 0:
        raise CUASError(f"The seed must not be negative, and is {seed}.")


def _header(contrast: str, parameters: dict) -> dict:
    return {
        "name": f"monai_cuas phantom ({contrast})",
        "description": "Synthetic brains from ICBM-152 tissue maps, healthy and with lesions; not patient data.",
        "licence": "Derived from the ICBM-152 2009 atlas, (C) McConnell Brain Imaging Centre, McGill University.",
        "modality": {"0": contrast.upper()},
        "labels": {"0": "background", "1": "lesion"},
        "tensorImageSize": "3D",
        "phantom": parameters,
    }


def make_phantom_cohort(
    output_dir: str | os.PathLike,
    normals: int = 60,
    lesions: int = 20,
    contrast: str = "flair",
    seed: int = 0,
    spacing: float = 2.0,
    splits: Mapping[str, float] | None = None,
    thick_slices: bool = False,
    oblique: bool = False,
    lesion_kinds: Sequence[str] = LESION_KINDS,
    progress: bool = True,
) -> str:
    """
    Make a phantom cohort in a folder, unless that very cohort is there already.

    Files appear under their names only when they are whole, and ``dataset.json`` is written last.

    Args:
        output_dir: folder of the cohort; made if absent.
        normals: number of healthy subjects.
        lesions: number of lesioned subjects, all in "test_lesion"; kinds take turns.
        contrast: "flair", "t1", "t2" or "ct".
        seed: same seed, same bytes.
        spacing: voxel size in mm, 1 to 6.
        splits: see :func:`split_counts`.
        thick_slices: slices two or three times as thick as the voxels are wide.
        oblique: scan axes turned by up to 20 degrees against the world's.
        lesion_kinds: kinds to make, from ``LESION_KINDS``.
        progress: show a progress bar.

    Returns:
        path of ``dataset.json``.

    Raises:
        CUASError: for arguments that make no cohort, or a folder that holds another dataset or cannot be written.
    """
    kinds = [lesion_kinds] if isinstance(lesion_kinds, str) else list(lesion_kinds)
    _check(normals, lesions, contrast, seed, spacing, kinds)
    counts = split_counts(normals, splits)
    parameters = {
        "generator_version": GENERATOR_VERSION, "normals": normals, "lesions": lesions, "contrast": contrast,
        "seed": seed, "spacing": float(spacing), "splits": counts, "thick_slices": bool(thick_slices),
        "oblique": bool(oblique), "lesion_kinds": kinds,
    }  # fmt: skip
    root = Path(output_dir)
    path = root / "dataset.json"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if _is_complete(path, parameters):
            return str(path)
        return _generate(root, path, counts, parameters, progress)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CUASError(f"{root}: cannot be written ({reason}); choose another output folder.") from error


def _generate(root: Path, path: Path, counts: dict[str, int], parameters: dict, progress: bool) -> str:
    kinds, contrast = parameters["lesion_kinds"], parameters["contrast"]
    plan: list[tuple[str, str, int, str | None]] = []
    for split, count in counts.items():
        start = len(plan)
        plan += [(split, f"sub-N{i + 1:04d}", i, None) for i in range(start, start + count)]
    plan += [("test_lesion", f"sub-L{i + 1:04d}", i, kinds[i % len(kinds)]) for i in range(parameters["lesions"])]
    options = {k: parameters[k] for k in ("contrast", "seed", "spacing", "thick_slices", "oblique")}
    lists: dict[str, list[dict]] = {name: [] for name in SPLIT_NAMES}
    for split, name, index, kind in tqdm(plan, desc="phantom cohort", unit="subject", disable=not progress):
        lists[split].append(_write_subject(root, name, make_phantom_subject(index, kind, **options), contrast))
    for folder, derivative in ((root, False), (root / "derivatives" / "lesion_masks", True)):
        folder.mkdir(parents=True, exist_ok=True)
        kind_of = "derivative" if derivative else "raw"
        description = {"Name": "monai_cuas phantom", "BIDSVersion": "1.9.0", "DatasetType": kind_of}
        _write_json(folder / "dataset_description.json", description)
    numbers = {"num" + "".join(p.capitalize() for p in n.split("_")): len(v) for n, v in lists.items()}
    _write_json(path, {**_header(contrast, parameters), **numbers, **lists})
    return str(path)
