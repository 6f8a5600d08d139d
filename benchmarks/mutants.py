# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Do the tests notice a wrong sign? ``python benchmarks/mutants.py`` (some minutes)

Each mutant is one line of the package made wrong, in a copy in a temporary folder; the named tests have to fail there,
and pass without it. A mutant whose line is not found any more is an error: write it anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAPER = "tests/bundle/test_paper.py"
NETWORK, ATTENTION = "monai_cuas/networks/nets/attention_vae.py", "monai_cuas/losses/attention.py"
LOSSES, VAE_TESTS = "tests/losses/test_attention.py", "tests/networks/test_attention_vae.py"


@dataclass(frozen=True)
class Mutant:
    """One line made wrong, and the tests that are to notice."""

    name: str
    file: str
    line: str
    wrong: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "the mean activation map negated",
        "monai_cuas/networks/layers/attention_map.py",
        "    return features.mean(dim=1, keepdim=True)\n",
        "    return -features.mean(dim=1, keepdim=True)\n",
        (PAPER, VAE_TESTS),
    ),
    Mutant(
        "the gradient-weighted map negated",
        "monai_cuas/networks/layers/attention_map.py",
        "    weighted = (weights * features)",
        "    weighted = -(weights * features)",
        (PAPER, VAE_TESTS),
    ),
    Mutant(
        "erosion of the entropy's pixels ignored",
        ATTENTION,
        "attention_entropy(attention, eroded(mask, self.erosion))",
        "attention_entropy(attention, mask)",
        (PAPER, LOSSES),
    ),
    Mutant(
        "erosion of the map ignored",
        "monai_cuas/inferers/eroded.py",
        "inside = eroded(inside.float(), self.erosion)",
        "inside = inside > 0",
        (PAPER, "tests/inferers/test_eroded.py"),
    ),
    Mutant(
        "the entropy of each slice's own pixels in place of the batch's",
        ATTENTION,
        "        if self.of_batch:\n",
        "        if False:\n",
        (PAPER, LOSSES),
    ),
    Mutant(
        "re-levelling of the calibration switched off",
        "monai_cuas/calibration/fit.py",
        "_relevel(thresholds, rates, sample.sorted())",
        "thresholds",
        ("tests/calibration/test_releveling.py",),
    ),
    Mutant(
        "corners never aligned",
        NETWORK,
        "align_corners=self.align_corners)",
        "align_corners=False)",
        (PAPER, VAE_TESTS),
    ),
    Mutant("corners always aligned", NETWORK, "align_corners=self.align_corners)", "align_corners=True)", (VAE_TESTS,)),
    Mutant(
        "the barrier's z negated",
        ATTENTION,
        "self.penalty(1 - self.p - mean)",
        "self.penalty(-(1 - self.p - mean))",
        (PAPER, LOSSES),
    ),
    Mutant(
        "the entropy minimised",
        ATTENTION,
        "        return -attention_entropy(",
        "        return attention_entropy(",
        (PAPER, LOSSES),
    ),
    Mutant(
        "mean attention of the brain where the whole slice is asked for",
        ATTENTION,
        "torch.ones_like(attention) if self.whole_slice else",
        "",
        (PAPER, LOSSES),
    ),
    Mutant(
        "the evaluation's erosion ignored",
        "monai_cuas/evaluation/evaluate.py",
        "        if erode_voxels:\n",
        "        if False:\n",
        ("tests/evaluation/test_evaluate.py",),
    ),
)


def fails(folder: Path, tests: tuple[str, ...]) -> bool:
    """
    Whether the tests fail in a copy of the repository.

    Raises:
        SystemExit: if they could not be run.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main() -> int:
    """Print who died; the exit code is the number of survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    chosen = [mutant for mutant in MUTANTS if parser.parse_args().only in mutant.name]
    survivors = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("monai_cuas", "tests", "bundles", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("runs", "__pycache__"))
        for name in ("pyproject.toml", "setup.cfg", "README.md"):
            shutil.copy(ROOT / name, folder / name)
        tests = tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        if fails(folder, tests):
            raise SystemExit("The tests fail without any mutant.")
        print("| mutant | died in |\n|---|---|")
        for mutant in chosen:
            text = (folder / mutant.file).read_text(encoding="utf-8")
            if mutant.line not in text:
                raise SystemExit(f"{mutant.file}: there is no {mutant.line!r} any more; write the mutant anew.")
            (folder / mutant.file).write_text(text.replace(mutant.line, mutant.wrong), encoding="utf-8")
            died = [Path(test).name for test in mutant.tests if fails(folder, (test,))]
            (folder / mutant.file).write_text(text, encoding="utf-8")
            survivors += len(died) < len(mutant.tests)
            missed = [Path(test).name for test in mutant.tests if Path(test).name not in died]
            note = f" (SURVIVED {chr(44).join(missed)})" if missed else ""
            print(f"| {mutant.name} | {', '.join(died)}{note} |", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
