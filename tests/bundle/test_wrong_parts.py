# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.cli import main


@pytest.mark.parametrize("override", [("--network_def#nonsense", "3"), ("--network_def", "3")])
def test_a_part_that_breaks_the_run_is_one_sentence(tmp_path, capsys, override):
    values = np.random.default_rng(0).uniform(1, 2, (20, 20, 20)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([6.0, 6, 6, 1])), tmp_path / "a.nii.gz")
    words = ["infer", str(tmp_path / "a.nii.gz"), "--model", "phantom", "--output_dir", str(tmp_path / "out")]
    assert main([*words, *override]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert override[0] in said
    assert said.endswith("leave it out or correct it.")
