# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from monai_cuas.inferers import brain_of
from monai_cuas.transforms import ForegroundQuantileScale


def test_brain_is_the_mask_that_the_preprocessing_used():
    """Whatever the voxels are: the darkest of the brain are brain still."""
    generator = np.random.default_rng(0)
    mask = generator.random((1, 6, 6, 4)) > 0.5
    image = np.where(mask, generator.normal(0, 100, mask.shape), -500.0).astype(np.float32)
    volume = MetaTensor(torch.as_tensor(ForegroundQuantileScale()(image, mask)))
    brain = brain_of(volume.unsqueeze(0))
    assert brain.dtype == torch.bool
    assert not isinstance(brain, MetaTensor)
    np.testing.assert_array_equal(brain.numpy()[0], mask)


def test_a_voxel_is_brain_that_any_channel_shows():
    volume = torch.zeros(1, 2, 2, 1, 1)
    volume[0, 1, 0] = 0.2
    assert brain_of(volume).flatten().tolist() == [True, False]
