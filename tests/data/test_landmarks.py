# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.transforms import AnomalyPreprocessing
from monai_cuas.utils import CUASError

PRE = AnomalyPreprocessing(image_size=16, margin_mm=0)


def test_landmarks_are_raw_quantiles(data, tmp_path):
    (tmp_path / "1.nii.gz").write_text("no scan")
    q = collect_landmarks(data, PRE, progress=False)
    assert q.shape == (2, 1, len(DEFAULT_LEVELS))
    values = nib.load(data[2]["image"]).get_fdata()
    np.testing.assert_allclose(q[1, 0], np.quantile(values[values > 0], PRE.parameters["levels"]), rtol=1e-5)
    with pytest.raises(CUASError, match="none of 1 scans"):
        collect_landmarks(data[1:2], PRE, progress=False)
