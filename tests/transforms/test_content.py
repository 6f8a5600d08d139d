# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_cuas.phantom import make_phantom_subject
from monai_cuas.transforms.io.content import content_of

SUBJECT = make_phantom_subject(7, 1, kind="tumour", contrast="flair", spacing=3.0, thick=False)
IMAGE = np.asarray(SUBJECT.image, dtype=np.float32)
LESION = np.asarray(SUBJECT.label, dtype=np.float32)
AFFINE = np.asarray(SUBJECT.affine)
BRAIN = IMAGE > 0
PLACE = np.indices(IMAGE.shape)


def smooth(sigma, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=IMAGE.shape), sigma)
    return noise / noise.std()


PARCELS = (PLACE[0] // 5 + 20 * (PLACE[1] // 5) + 400 * (PLACE[2] // 5) + 1) * BRAIN
MASKS = {
    "float": LESION * 1.0,
    "0 and 255": LESION * 255,
    "scaled": LESION * 0.0039,
    "several parts": LESION * (1 + PLACE[0] % 3),
    "probability": ndimage.gaussian_filter(LESION, 1.0),
    "never certain": 0.4 * ndimage.gaussian_filter(LESION, 1.0),
    "noisy network": np.clip(ndimage.gaussian_filter(LESION, 1) + 1e-4 * (1 + smooth(0.5)) ** 2, 0, 1),
    "percent": 100 * ndimage.gaussian_filter(LESION, 0.7) / ndimage.gaussian_filter(LESION, 0.7).max(),
    "thresholded statistic": np.where((smooth(2) > 2.5) & BRAIN, smooth(2), 0),
    "empty": 0 * LESION,
}
MAPS = {
    "parcels": PARCELS,
    "parcels by a slope": PARCELS / 7,
    "soft brain": ndimage.gaussian_filter(BRAIN.astype(np.float32), 1.0),
    "distance inside": ndimage.distance_transform_edt(BRAIN, sampling=3.0),
    "signed distance": ndimage.distance_transform_edt(BRAIN) - ndimage.distance_transform_edt(~BRAIN),
    "distance to the lesion": ndimage.distance_transform_edt(LESION == 0),
    "coordinate": PLACE[1] * 3.0,
    "bias": 1 + 0.2 * smooth(25),
}
SCANS = {
    "as it is": IMAGE,
    "0 to 1": IMAGE / IMAGE.max(),
    "8 bits": np.round(255 * IMAGE / IMAGE.max()),
    "standardised": (IMAGE - IMAGE[BRAIN].mean()) / IMAGE[BRAIN].std(),
    "one hot voxel": np.where(np.arange(IMAGE.size).reshape(IMAGE.shape) == IMAGE.size // 2, 1e9, IMAGE),
    "smoothed": ndimage.gaussian_filter(IMAGE, 1.0),
    "winsorised": np.clip(IMAGE, *np.percentile(IMAGE[BRAIN], (5, 95))) * BRAIN,
    "a few slices": IMAGE[:, :, 20:24],
    "enlarged": IMAGE.repeat(2, 0).repeat(2, 1),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_known_by_their_voxels(name):
    found = content_of(MASKS[name].astype(np.float32), None, AFFINE)
    assert found.kind == "mask"
    assert found.why
    assert (found.ml > 0) == (name != "empty")


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_known_by_their_voxels(name):
    assert content_of(MAPS[name].astype(np.float32), None, AFFINE).kind == "map"


@pytest.mark.parametrize("name", SCANS)
def test_scans_stay_scans(name):
    affine = AFFINE @ np.diag([0.5, 0.5, 1, 1]) if name == "enlarged" else AFFINE
    assert content_of(SCANS[name].astype(np.float32), None, affine)[:2] == ("", "")


def test_the_volume_is_that_of_the_mask():
    assert content_of(LESION, None, AFFINE).ml == pytest.approx(LESION.sum() * 27 / 1000)
