# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Data lists of the real scans: python benchmarks/real/lists.py --data ../shared/data --output runs/real

``lgg_flair`` and ``lgg_t1`` (docs/results/real.md says where a user gets each set): five folds by patient, sites spread
over them. Folds 1 to 3 train, choose and calibrate by their slices without a lesion, which are not next to one either;
folds 4 and 5 are tested on. ``lgg_flair_tune``: the same, with fold 1 for tests and folds 2 and 3 for the rest, for
whatever is to be chosen. ``ixi_t1``: healthy people alone. ``mixed_t1``, ``mixed_t1_tune``: both T1 sets in one.
``cross_flair``, ``cross_t2``: MSLUB, tests only. ``ct_ich``: head CT, patients without a haemorrhage in any slice
train, choose, calibrate and test; those with one, and their slices' labels, test.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from monai_cuas.data.layouts.ct_ich import read_ct_ich

FOLDS = 5


def folds(names: Sequence[str], n: int = FOLDS) -> dict[str, int]:
    """
    Fold, from 1, of each patient.

    Args:
        names: ``TCGA_<site>_<number>_<date>``, one for each patient.
        n: number of folds.
    """
    order = np.random.default_rng(0)
    by_site: dict[str, list[str]] = {}
    for name in sorted(names):
        by_site.setdefault(name.split("_")[1], []).append(name)
    shuffled = [name for site in sorted(by_site) for name in order.permutation(by_site[site])]
    return {str(name): k % n + 1 for k, name in enumerate(shuffled)}


def _widened(label: Path, output: Path) -> str:
    """The mask with one slice more at either side, for training: a slice next to a lesion is no normal one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.is_file():
        image: Any = nib.load(label)
        grown = ndimage.binary_dilation(np.asarray(image.dataobj) > 0, np.ones((1, 1, 3)))
        nib.save(nib.Nifti1Image(grown.astype(np.uint8), image.affine, image.header), output)
    return str(output)


def _write(folder: Path, name: str, sequence: str, lists: dict[str, list[dict[str, Any]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"name": name, "modality": {"0": sequence}, "labels": {"0": "background", "1": "lesion"}, **lists}
    (folder / "dataset.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{folder}: {', '.join(f'{len(entries)} {key}' for key, entries in lists.items())}")


def _lgg(data: Path, output: Path, sequence: str, test: set[int], fit: set[int], name: str) -> None:
    scans = {path.name[:-7]: path for path in sorted((data / "lgg" / sequence).glob("*.nii.gz"))}
    of = folds([path.name[:-7] for path in (data / "lgg" / "flair").glob("*.nii.gz")])
    lists: dict[str, list[dict[str, Any]]] = {
        key: [] for key in ("training", "validation", "calibration", "test_normal", "test_lesion")
    }
    fitted = [case for case in scans if of[case] in fit]
    order = list(np.random.default_rng(1).permutation(sorted(fitted)))
    part = {case: "validation" if k < 4 else "calibration" if k < 14 else "training" for k, case in enumerate(order)}
    for case, path in scans.items():
        label = data / "lgg" / "labels" / f"{case}.nii.gz"
        entry = {"image": str(path), "subject": case, "site": case.split("_")[1]}
        if case in part:
            lists[part[case]].append({**entry, "label": _widened(label, output / "widened" / label.name)})
        elif of[case] in test:
            lists["test_lesion"].append({**entry, "label": str(label)})
    _write(output / name, f"TCGA-LGG {sequence}", sequence.upper(), lists)


def _ixi(data: Path, output: Path) -> None:
    scans = sorted((data / "ixi_t1" / "stripped").glob("*.nii.gz"))
    order = np.random.default_rng(2).permutation(len(scans))
    entries = [{"image": str(scans[k]), "subject": scans[k].name.split("-")[0], "site": "IXI-HH"} for k in order]
    cuts = {"training": entries[:47], "validation": entries[47:52], "calibration": entries[52:62]}
    _write(output / "ixi_t1", "IXI T1", "T1", {**cuts, "test_normal": entries[62:], "test_lesion": []})


def _mixed(output: Path, patients: str, name: str) -> None:
    """IXI's and TCGA-LGG's T1 in each list; judged on the patients' test folds and IXI's test subjects."""
    lgg, ixi = (json.loads((output / part / "dataset.json").read_text()) for part in (patients, "ixi_t1"))
    names = ("training", "validation", "calibration", "test_normal", "test_lesion")
    _write(output / name, "TCGA-LGG T1 and IXI T1", "T1", {key: lgg[key] + ixi[key] for key in names})


def _cross(data: Path, output: Path, sequence: str, name: str) -> None:
    entries = []
    for folder in sorted((data / "mslub").glob("patient*")):
        entry = {"image": str(folder / f"{sequence}.nii.gz"), "label": str(folder / "consensus_gt.nii.gz")}
        entries.append({**entry, "subject": folder.name, "site": "MSLUB"})
    _write(output / name, f"MSLUB {sequence}", sequence, {"test_lesion": entries})


def _ct(data: Path, output: Path) -> None:
    scans = list(read_ct_ich(data / "ct_ich"))
    entries = {
        role: [
            {"image": str(scan.images[0]), "subject": scan.subject, "site": "CT-ICH", **scan.extra}
            for scan in scans
            if scan.role == role
        ]
        for role in ("normal", "lesion")
    }
    normal = [entries["normal"][k] for k in np.random.default_rng(3).permutation(len(entries["normal"]))]
    cuts = {
        "training": normal[4:14],
        "validation": normal[14:16],
        "calibration": normal[16:],
        "test_normal": normal[:4],
    }
    _write(output / "ct_ich", "CT-ICH", "CT", {**cuts, "test_lesion": entries["lesion"]})


def main() -> None:
    """Write every list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lgg, ixi_t1 and mslub")
    parser.add_argument("--output", type=Path, required=True, help="folder for the lists")
    args = parser.parse_args()
    data, output = args.data.resolve(), args.output.resolve()
    if not (data / "lgg" / "flair").is_dir():
        raise SystemExit(f"{data}: there is no lgg/flair here; docs/results/real.md says where the set is had.")
    for sequence in ("flair", "t1"):
        _lgg(data, output, sequence, {4, 5}, {1, 2, 3}, f"lgg_{sequence}")
        _lgg(data, output, sequence, {1}, {2, 3}, f"lgg_{sequence}_tune")
    _ixi(data, output)
    _mixed(output, "lgg_t1", "mixed_t1")
    _mixed(output, "lgg_t1_tune", "mixed_t1_tune")
    _cross(data, output, "FLAIR", "cross_flair")
    _cross(data, output, "T2W", "cross_t2")
    if (data / "ct_ich").is_dir():
        _ct(data, output)


if __name__ == "__main__":
    main()
