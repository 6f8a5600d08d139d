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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(36, "File name too long"), "File name too long"),
        (UnicodeEncodeError("utf-8", "x", 0, 1, "no"), "UnicodeEncodeError"),
        (KeyError("DOE^JANE"), "KeyError"),
    ],
)
def test_whatever_one_scan_raises_leaves_out_that_scan(data, error, said):
    def broken(entry):
        if entry["subject"] == "s1":
            raise error
        return entry

    dataset = TolerantDataset(data, broken)
    assert [item["subject"] for item in dataset] == ["s0", "s2"]
    assert [file for file, _ in dataset.failed] == [str(data[1]["image"])]
    with pytest.raises(CUASError, match=f"1 of 3 scans failed: .*{said}") as caught:
        dataset.report()
    # an unforeseen exception may quote the header
    assert "DOE" not in str(caught.value)


def test_no_scan_at_all():
    with pytest.raises(CUASError, match="no scan"):
        TolerantDataset([], PRE)
