# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Seconds per phantom subject at 2 mm, files included: ``python benchmarks/phantom_speed.py``."""

from __future__ import annotations

import tempfile
import time

from monai_cuas.phantom import make_phantom_cohort, make_phantom_subject


def main() -> None:
    """Time a cohort of 20; loading the template (once per process) is timed on its own."""
    start = time.perf_counter()
    make_phantom_subject(0, 0)
    print(f"first subject, with the template: {time.perf_counter() - start:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        make_phantom_cohort(folder, normals=10, lesions=10, progress=False)
        print(f"per subject: {(time.perf_counter() - start) / 20:.2f} s")


if __name__ == "__main__":
    main()
