# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The notebook runs, from install to finding, on the phantom and on a user's folder; outputs are not committed."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "quickstart.ipynb"


@pytest.fixture
def notebook():
    nbformat = pytest.importorskip("nbformat", reason="the notebook needs nbclient: pip install -e '.[dev]'")
    read = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(read)
    return read


def test_no_output_is_committed(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_links_lead_somewhere(notebook):
    import re

    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    assert all((NOTEBOOK.parent / target).exists() for target in targets)


@pytest.mark.slow
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="the notebook needs nbclient: pip install -e '.[dev]'")
    pytest.importorskip("ipykernel", reason="the notebook needs ipykernel: pip install -e '.[dev]'")
    pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")
    from monai_cuas.phantom import make_phantom_cohort

    # a user's folder: files of another cohort, under names of their own
    cohort = Path(
        make_phantom_cohort(tmp_path / "other", normals=0, lesions=2, spacing=6.0, seed=7, progress=False)
    ).parent
    (tmp_path / "scans").mkdir()
    for k, scan in enumerate(sorted(cohort.glob("sub-L*/anat/*.nii.gz"))):
        shutil.copy(scan, tmp_path / "scans" / f"patient {k}.nii.gz")
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += f"\nNORMALS, SPACING_MM, SCANS = 4, 6.0, {str(tmp_path / 'scans')!r}"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    with open(tmp_path / "quickstart" / "results" / "results.csv", newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["patient 0", "patient 1"]
    said = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", ()))
    assert "threshold set on 4 scans" in said
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
