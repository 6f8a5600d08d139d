# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_cuas.data.robust import TolerantDataset
from monai_cuas.transforms import AnomalyPreprocessing
from monai_cuas.utils import CUASError

PRE = AnomalyPreprocessing(image_size=16, margin_mm=0)


def test_tolerant_dataset_goes_on(data, tmp_path):
    (tmp_path / "1.nii.gz").write_text("no scan")
    dataset = TolerantDataset(data, PRE)
    for _ in range(2):
        assert [item["subject"] for item in dataset] == ["s0", "s2"]
        assert len(dataset.failed) == 1
    with pytest.raises(CUASError, match="1 of 3 scans failed: .*1.nii.gz"):
        dataset.report()
    fine = TolerantDataset(data[:1], PRE)
    assert len(list(fine)) == 1
    fine.report()


def test_tolerant_dataset_does_not_hide_bugs(data):
    def broken(_):
        raise KeyError("a bug")

    with pytest.raises(RuntimeError):
        list(TolerantDataset(data, broken))
    with pytest.raises(CUASError, match="no scan"):
        TolerantDataset([], PRE)
