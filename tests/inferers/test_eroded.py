# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from monai_cuas.inferers import ErodedSliceInferer


def _inferer(**kwargs):
    return ErodedSliceInferer(spatial_dim=2, roi_size=(16, 16), sw_batch_size=4, **kwargs)


def _volume():
    """Two volumes with an empty last slice; what the network gives is their negative, 5 higher."""
    image = torch.as_tensor(np.random.RandomState(0).uniform(0.1, 1, (2, 1, 16, 16, 3)).astype(np.float32))
    image[..., :3, :, 0], image[..., 2] = 0, 0
    return image


@pytest.mark.parametrize("erosion", [0, 3, 6])
def test_nothing_outside_the_eroded_brain(erosion):
    image = _volume()
    maps = _inferer(erosion=erosion)(image, lambda x: 5 - x)
    for volume, brain in zip(maps, image > 0):
        for z in range(3):
            inside = brain[0, ..., z].numpy()
            inside = binary_erosion(inside, np.ones((erosion, erosion))) if erosion else inside
            assert np.array_equal(volume[0, ..., z].numpy() != 0, inside)
    kept = maps != 0
    torch.testing.assert_close(maps[kept], (5 - image)[kept])


def test_each_slice_on_its_own_scale():
    image = _volume()
    plain = _inferer(erosion=3)(image, lambda x: 5 - x)
    maps = _inferer(erosion=3, scale_slices=True)(image, lambda x: 5 - x)
    inside = plain[0, 0, ..., 0] != 0
    one, before = maps[0, 0, ..., 0][inside], plain[0, 0, ..., 0][inside]
    assert one.min() == 0
    # the highest is looked for outside too, as in the authors' code: there it is the background's 5
    torch.testing.assert_close(one, (before - before.min()) / (5 - before.min()))
    assert (maps[..., 2] == 0).all()
    assert torch.isfinite(maps).all()


def test_a_negative_side_is_refused():
    with pytest.raises(ValueError, match="erosion"):
        _inferer(erosion=-1)


def test_it_can_be_kept_in_a_recipe():
    assert _inferer(erosion=3).arguments["erosion"] == 3
