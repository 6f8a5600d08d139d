# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
A real Orthanc with DICOMweb. Orthanc listens on all addresses, so it is run in a network namespace that has the
loopback alone; the tests themselves are in dicomweb_inside.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")
pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

ROOT = Path(__file__).parents[2]
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def _namespace(command: str) -> list[str]:
    return ["unshare", "--net", "sh", "-c", f"ip link set lo up && {command}"]


def test_in_a_namespace_with_orthanc():
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("needs Debian's packages orthanc and orthanc-dicomweb")
    if shutil.which("unshare") is None or subprocess.run(_namespace("true"), capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace (unshare --net)")
    command = f"exec {sys.executable} -m pytest -q -p no:cacheprovider {Path(__file__).with_name('dicomweb_inside.py')}"
    done = subprocess.run(
        _namespace(command), cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=1200
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
