# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest


def cylinder(path, seed=0, height=12, scale=1.0):
    """A cylinder of `height` slices: below its middle the radius is 7 voxels, above it 3."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(24) - 12, np.arange(24) - 12, indexing="ij")
    image = np.zeros((24, 24, height + 4), dtype=np.float32)
    for z in range(height):
        inside = x**2 + y**2 <= (7 if z < height // 2 else 3) ** 2
        image[..., z + 2][inside] = scale * (50 + rng.random(inside.sum()) * 50)
    nib.save(nib.Nifti1Image(image, np.diag([4.0, 4.0, 4.0, 1.0])), path)
    return str(path)


@pytest.fixture(name="cylinder")
def _cylinder():
    return cylinder


@pytest.fixture
def data(tmp_path):
    return [{"image": cylinder(tmp_path / f"{i}.nii.gz", i), "subject": f"s{i}"} for i in range(3)]
