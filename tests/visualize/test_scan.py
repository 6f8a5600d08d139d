# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.visualize.scan import read_display_scan

SHAPE = (4, 5, 6)
INSTEAD = np.full(SHAPE, -1, dtype=np.float32)


def _item(path, **more):
    return {"image": MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": str(path)}), **more}


@pytest.fixture
def several(tmp_path):
    """A file of three channels that hold 0, 1 and 2."""
    values = np.broadcast_to(np.arange(3, dtype=np.float32), (*SHAPE, 3))
    nib.save(nib.Nifti1Image(values.copy(), np.eye(4)), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


@pytest.mark.parametrize("channels", [[1], [2, 0], [torch.tensor(1)]])
def test_the_channel_that_was_named_is_shown(several, channels):
    shown = read_display_scan(_item(several, image_channels=channels), INSTEAD)
    np.testing.assert_array_equal(shown, np.full(SHAPE, int(channels[0]), dtype=np.float32))


def test_without_a_name_the_first(several):
    np.testing.assert_array_equal(read_display_scan(_item(several), INSTEAD), np.zeros(SHAPE))


def test_nan_becomes_zero(tmp_path):
    values = np.ones(SHAPE, dtype=np.float32)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    shown = read_display_scan(_item(tmp_path / "a.nii.gz"), INSTEAD)
    assert shown[0, 0, 0] == 0
    assert shown.sum() == values.size - 1


@pytest.mark.parametrize("file", ["", "gone.nii.gz", "small.nii.gz"])
def test_what_cannot_be_read_is_replaced(tmp_path, file):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "small.nii.gz")
    item = _item(tmp_path / file) if file else {"image": torch.zeros(1, 2, 2, 2)}
    np.testing.assert_array_equal(read_display_scan(item, INSTEAD), INSTEAD)
