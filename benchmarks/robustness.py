# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Damaged and strange inputs in batches with good scans: does a batch end, does a good result change, is anything silent?

    python benchmarks/robustness.py --inputs 320 --seed 0 --memory_gb 8

Each batch is one run of ``monai_cuas infer`` under a limit of memory. Counted are

- batches that ended: no table, a traceback, or a signal;
- good results that are not bit for bit those of a batch of good scans alone;
- masks of accepted inputs that, without a note, lie on another grid or mark other voxels than the unharmed scan's;
- refusals that are no single sentence with the file's name, and inputs of which nothing is said at all.

The harm done to a file is one that its format can show: a flipped bit in the voxels of a file without a checksum is
beyond any reader. Exit code 1 if a count is not 0.
"""

from __future__ import annotations

import argparse
import collections
import csv
import gzip
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from monai_cuas.phantom import make_phantom_subject

GOOD = 2
PER_BATCH = 40


class Made(NamedTuple):
    """A file, and what the mask of it is if it is accepted without a note: from the unharmed mask; None: anything."""

    path: Path
    expected: Callable[[np.ndarray], np.ndarray] | None


def _raw(image: np.ndarray, affine: np.ndarray, **fields: Any) -> bytearray:
    """A NIfTI-1 file with both matrices, fields overwritten."""
    made = nib.Nifti1Image(image, affine)
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    made.header.set_xyzt_units("mm", "sec")
    raw = bytearray(made.to_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    return raw


def _same(mask: np.ndarray) -> np.ndarray:
    return mask


class Harm:
    """The kinds of harm, each a method that writes a file; all draw from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        subject = make_phantom_subject(7, 1, kind="tumour", contrast="flair", spacing=3.0, thick=True)
        self.image, self.affine = subject.image.astype(np.int16), np.asarray(subject.affine, dtype=float)
        self.kinds = sorted(name[5:] for name in dir(self) if name.startswith("make_"))

    def write(self, folder: Path, number: int) -> Made:
        """The kinds take turns."""
        kind = self.kinds[number % len(self.kinds)]
        return getattr(self, f"make_{kind}")(folder / f"s{number:03d}_{kind}")

    def good(self, path: Path) -> None:
        """The unharmed scan."""
        path.write_bytes(gzip.compress(bytes(_raw(self.image, self.affine)), 1, mtime=0))

    def _save(self, stem: Path, raw: bytes, expected: Any = _same, compress: bool | None = None) -> Made:
        compress = bool(self.rng.integers(2)) if compress is None else compress
        path = stem.with_name(stem.name + (".nii.gz" if compress else ".nii"))
        path.write_bytes(gzip.compress(bytes(raw), 1, mtime=0) if compress else bytes(raw))
        return Made(path, expected)

    def make_header_bit(self, stem: Path) -> Made:
        """One bit of the header, half of the time in the codes and matrices."""
        raw = _raw(self.image, self.affine)
        place = int(self.rng.integers(252, 328) if self.rng.integers(2) else self.rng.integers(0, 348))
        raw[place] ^= 1 << int(self.rng.integers(8))
        return self._save(stem, raw)

    def make_header_bytes(self, stem: Path) -> Made:
        """Four bytes in a row at random."""
        raw = _raw(self.image, self.affine)
        place = int(self.rng.integers(0, 344))
        raw[place : place + 4] = self.rng.bytes(4)
        return self._save(stem, raw)

    def make_dim(self, stem: Path) -> Made:
        """Another size of the volume."""
        dim = nib.Nifti1Header(bytes(_raw(self.image, self.affine)[:348]))["dim"].copy()
        dim[int(self.rng.integers(0, 5))] = int(self.rng.choice([-1, 0, 1, 2, 17, 60, 300, 32767]))
        return self._save(stem, _raw(self.image, self.affine, dim=dim))

    def make_matrix(self, stem: Path) -> Made:
        """Rows of the sform or numbers of the qform that are singular, not finite, or of another place."""
        value = float(self.rng.choice([0, np.nan, np.inf, -1e30, 1e-30, 3.7, -250.0]))
        rows = [f"srow_{a}" for a in "xyz"] + [f"quatern_{a}" for a in "bcd"] + [f"qoffset_{a}" for a in "xyz"]
        return self._save(stem, _raw(self.image, self.affine, **{str(self.rng.choice(rows)): value}))

    def make_pixdim(self, stem: Path) -> Made:
        """Another size of the voxel."""
        pixdim = nib.Nifti1Header(bytes(_raw(self.image, self.affine)[:348]))["pixdim"].copy()
        pixdim[int(self.rng.integers(0, 4))] = float(self.rng.choice([0, -1, np.nan, 1e9, 1e-6, 1.5, -3]))
        return self._save(stem, _raw(self.image, self.affine, pixdim=pixdim))

    def make_codes(self, stem: Path) -> Made:
        """Codes of orientation and unit."""
        codes = {"sform_code": int(self.rng.integers(-1, 8)), "qform_code": int(self.rng.integers(-1, 8))}
        return self._save(stem, _raw(self.image, self.affine, **codes, xyzt_units=int(self.rng.integers(0, 16))))

    def make_type(self, stem: Path) -> Made:
        """A type of number that the voxels have not."""
        return self._save(
            stem, _raw(self.image, self.affine, datatype=int(self.rng.choice([0, 1, 2, 8, 16, 32, 64, 128, 777, 2304])))
        )

    def make_gzip_bit(self, stem: Path) -> Made:
        """One bit of compressed data."""
        made = self._save(stem, _raw(self.image, self.affine), compress=True)
        data = bytearray(made.path.read_bytes())
        data[int(self.rng.integers(10, len(data)))] ^= 1 << int(self.rng.integers(8))
        made.path.write_bytes(data)
        return made

    def make_cut(self, stem: Path) -> Made:
        """An end that is missing."""
        made = self._save(stem, _raw(self.image, self.affine))
        data = made.path.read_bytes()
        made.path.write_bytes(data[: int(len(data) * self.rng.random() ** 0.3)])
        return made

    def make_zeroed(self, stem: Path) -> Made:
        """A block of a compressed file that was never written."""
        made = self._save(stem, _raw(self.image, self.affine), compress=True)
        data = bytearray(made.path.read_bytes())
        start = int(self.rng.integers(0, len(data) - 512))
        data[start : start + 512] = bytes(512)
        made.path.write_bytes(data)
        return made

    def make_surplus(self, stem: Path) -> Made:
        """Bytes behind the voxels."""
        return self._save(stem, _raw(self.image, self.affine) + self.rng.bytes(int(10 ** self.rng.uniform(0, 6))))

    def make_other(self, stem: Path) -> Made:
        """What is no image at all."""
        contents = [
            b"",
            b"<html>404</html>",
            b"version https://git-lfs.github.com/spec/v1\n",
            b"PK\x03\x04",
            bytes(5000),
        ]
        contents += [self.rng.bytes(3000), json.dumps({"a": 1}).encode(), gzip.compress(b"no scan" * 100)]
        path = stem.with_name(stem.name + str(self.rng.choice([".nii.gz", ".nii", ".nrrd", ".mha", ".mgz"])))
        path.write_bytes(contents[int(self.rng.integers(len(contents)))])
        return Made(path, None)

    def make_values(self, stem: Path) -> Made:
        """Values that no scan has: NaN, a constant, single numbers, labels, noise."""
        image, brain = self.image.astype(np.float32), self.image > 0
        kind, expected = int(self.rng.integers(8)), None
        if kind == 0:
            image[tuple(self.rng.integers(0, n) for n in image.shape)] = float(self.rng.choice([np.nan, np.inf, 1e30]))
        elif kind == 1:
            image[~brain] = float(self.rng.choice([np.nan, np.inf, -np.inf]))
            expected = _same
        elif kind == 2:
            image[:] = float(self.rng.choice([0, 7, -1e9]))
        elif kind == 3:
            image = brain * (1 + np.indices(image.shape).sum(0) // 12).astype(np.float32)
        elif kind == 4:
            image = self.rng.normal(0, 1, image.shape).astype(np.float32)
        elif kind == 5:
            image[np.indices(image.shape)[2] >= 4] = 0
        elif kind == 6:
            image = np.zeros_like(image)
            image[3:5, 3:5, 3:5] = self.rng.random((2, 2, 2))
        else:
            image *= np.float32(10.0 ** self.rng.integers(-30, 35))
        return self._save(stem, _raw(image, self.affine), expected)

    def make_padding(self, stem: Path) -> Made:
        """A second value outside, or another background."""
        image, outside = self.image.astype(np.float32), self.image == 0
        value = float(self.rng.choice([-32768, -1024, -1, 7, 100, 4095, 1e6]))
        place = np.indices(image.shape)[int(self.rng.integers(3))] < int(self.rng.integers(1, 30))
        image[outside & (place if self.rng.integers(2) else True)] = value
        return self._save(stem, _raw(image, self.affine), _same)

    def make_shape(self, stem: Path) -> Made:
        """Two dimensions, four, five, one slice, a strip."""
        image = self.image
        shapes = [image[:, :, 9], image[:, :, 9:10], np.stack([image] * 2, -1), image[..., None, None], image[:, 20:22]]
        chosen = int(self.rng.integers(len(shapes)))
        return self._save(stem, _raw(shapes[chosen], self.affine), _same if chosen == 3 else None)

    def make_format(self, stem: Path) -> Made:
        """Half of a pair, a damaged MGH, a cut NRRD."""
        kind = int(self.rng.integers(4))
        if kind == 0:
            nib.save(nib.Nifti1Pair(self.image, self.affine), stem.with_suffix(".img"))
            stem.with_suffix(".img").write_bytes(
                stem.with_suffix(".img").read_bytes()[: -int(self.rng.integers(1, 9000))]
            )
            return Made(stem.with_suffix(".hdr"), _same)
        if kind == 1:
            nib.save(nib.MGHImage(self.image.astype(np.float32), self.affine), stem.with_suffix(".mgz"))
            path = stem.with_suffix(".mgz")
        else:
            import SimpleITK as sitk

            image = sitk.GetImageFromArray(np.ascontiguousarray(self.image.T))
            path = stem.with_suffix(".nrrd" if kind == 2 else ".mha")
            sitk.WriteImage(image, str(path), useCompression=True)
        data = path.read_bytes()
        path.write_bytes(data[: -int(self.rng.integers(1, len(data)))])
        return Made(path, None)


def _limited(gigabytes: float) -> Callable[[], None]:
    size = int(gigabytes * 2**30)
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _infer(folder: Path, output: Path, gigabytes: float) -> tuple[int, str]:
    command = [sys.executable, "-W", "ignore", "-m", "monai_cuas", "infer", str(folder), "--output_dir", str(output)]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=_limited(gigabytes), check=False)
    return run.returncode, run.stdout + run.stderr


def _voxels(output: Path, name: str, what: str = "mask") -> np.ndarray:
    return np.asarray(nib.load(output / f"{name}_{what}.nii.gz").dataobj)  # type: ignore[attr-defined]


def _grid(path: Path) -> bytes:
    """What a header says of its place, number by number."""
    opened = gzip.open if path.read_bytes()[:2] == b"\x1f\x8b" else open
    with opened(path, "rb") as file:
        header = file.read(348)
    return header[40:56] + header[76:92] + header[252:256] + header[256:328]


def _judge(made: Made, row: dict[str, str] | None, said: list[str], output: Path, base: np.ndarray) -> str:
    """ "accepted", "noted", "refused", or what is wrong."""
    if row is None:
        sentences = [s for s in said if str(made.path) in s]
        if not sentences:
            return "WRONG: nothing is said"
        one = [s for s in sentences if re.fullmatch(re.escape(str(made.path)) + r"(::\S+)?: [^\n]+\.", s)]
        return "refused" if one or any("passed over" in s for s in sentences) else "WRONG: no single sentence"
    if row["notes"]:
        return "noted"
    mask = _voxels(output, row["name"])
    if made.expected is not None and not np.array_equal(mask, made.expected(base).reshape(mask.shape)):
        return "WRONG: another mask without a note"
    written = output / f"{row['name']}_mask.nii.gz"
    if made.path.name.endswith((".nii", ".nii.gz")) and made.expected and _grid(written)[16:] != _grid(made.path)[16:]:
        return "WRONG: another grid without a note"
    return "accepted"


def main() -> int:
    """Run the campaign and print the counts."""
    parser = argparse.ArgumentParser(description="Damaged and strange inputs in batches with good scans.")
    parser.add_argument("--inputs", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory_gb", type=float, default=8.0, help="limit of each batch's address space")
    options = parser.parse_args()
    harm, counts, wrong = Harm(options.seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "good").mkdir()
        for k in range(GOOD):
            harm.good(root / "good" / f"good{k}.nii.gz")
        code, text = _infer(root / "good", root / "good_out", options.memory_gb)
        if code:
            print(text)
            return 1
        base = _voxels(root / "good_out", "good0")
        for first in range(0, options.inputs, PER_BATCH):
            folder, output = root / f"b{first}", root / f"b{first}_out"
            folder.mkdir()
            for k in range(GOOD):
                harm.good(folder / f"{'a' if k else 'z'}good{k}.nii.gz")
            batch = [harm.write(folder, n) for n in range(first, min(first + PER_BATCH, options.inputs))]
            code, text = _infer(folder, output, options.memory_gb)
            rows = {}
            if (output / "results.csv").exists():
                rows = {row["file"]: row for row in csv.DictReader((output / "results.csv").open(encoding="utf-8"))}
            if code not in (0, 1) or "Traceback" in text or not rows:
                counts["batches ended"] += 1
                wrong.append(f"batch {first}: exit code {code}\n{text[-1500:]}")
            for k in range(GOOD):
                stem = f"{'a' if k else 'z'}good{k}"
                same = str(folder / f"{stem}.nii.gz") in rows and all(
                    np.array_equal(_voxels(output, stem, what), _voxels(root / "good_out", f"good{k}", what))
                    for what in ("mask", "anomaly")
                )
                counts["good results changed"] += not same
            said = [line.split(" - ", 3)[-1].removeprefix("left out: ") for line in text.splitlines()]
            for made in batch:
                verdict = _judge(made, rows.get(str(made.path)), said, output, base)
                counts[verdict.split(":")[0]] += 1
                if verdict.startswith("WRONG"):
                    wrong.append(f"{made.path.name}: {verdict}: {[s for s in said if made.path.name in s][:1]}")
            print(f"{first + len(batch)} of {options.inputs}: {dict(counts)}", flush=True)
    print("\n".join(wrong))
    return int(bool(wrong) or counts["good results changed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
