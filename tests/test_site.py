# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The documents build as a site without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the site needs mkdocs-material: pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="the site needs mkdocstrings: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    # its advertisement for a successor is no warning of ours
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr[-3000:]
    start = (tmp_path / "site" / "start" / "index.html").read_text(encoding="utf-8")
    assert "monai_cuas infer" in start
    reference = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    # filled in from the docstring
    assert "conformal p-value of the scan" in reference.lower()
    # what would be loaded from elsewhere is the drawing of formulas alone
    assert "fonts.googleapis.com" not in start
