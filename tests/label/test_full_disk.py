# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A disk that is really full: the studies' folder is a small file system of its own, mounted for this test alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

ROOT = Path(__file__).parents[2]


def test_on_a_small_file_system(tmp_path):
    mount = ["unshare", "--mount", "sh", "-c"]
    try:
        tried = subprocess.run([*mount, f"mount -t tmpfs -o size=1m none {tmp_path}"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs unshare (Debian's package util-linux)")
    if tried.returncode:
        pytest.skip("needs the right to mount in a namespace of its own (unshare --mount)")
    inside = f"{sys.executable} -m pytest -q -p no:cacheprovider {Path(__file__).with_name('full_disk_inside.py')}"
    command = f"mount -t tmpfs -o size=1m none {tmp_path} && exec {inside}"
    environment = {**os.environ, "SMALL_DISK": str(tmp_path)}
    done = subprocess.run([*mount, command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    # the mount was seen by nobody else
    assert not list(tmp_path.iterdir())
