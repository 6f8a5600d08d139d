# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.networks.layers import LandmarkStandardization
from monai_cuas.transforms import (
    AnomalyPreprocessing,
    BrainMask,
    ForegroundQuantileScale,
    MaskAnomaly,
    PadToPhysicalSquare,
    ThresholdAnomaly,
)
from monai_cuas.utils import ScanError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_quantile_coordinates_by_hand():
    # 0..100: the quantile at level p is 100 p.
    values = np.arange(101, dtype=np.float32)
    image = np.concatenate([values, [7.0]]).reshape(1, 102, 1, 1).astype(np.float32)
    mask = np.ones_like(image)
    mask[0, 101] = 0
    out = ForegroundQuantileScale((0.1, 0.5, 0.9))(image, mask).ravel()
    # Linear data: coordinates are value / 100 everywhere, beyond the outermost landmarks too, but at least 0.001.
    np.testing.assert_allclose(out[1:101], values[1:] / 100, atol=1e-6)
    assert out[0] == pytest.approx(1e-3)
    assert out[101] == 0
    skewed = ForegroundQuantileScale((0.1, 0.5, 0.9))(np.where(image > 50, 3 * image - 100, image), mask).ravel()
    np.testing.assert_allclose(skewed[1:101], values[1:] / 100, atol=1e-5)


def test_quantile_ties_stay_finite_and_ordered():
    image = np.concatenate([np.full(60, -20.0), np.linspace(-19, 100, 40)]).reshape(1, 100, 1, 1)
    out = ForegroundQuantileScale()(image, np.ones_like(image)).ravel()
    assert np.isfinite(out).all()
    assert (np.diff(out[60:]) > 0).all()
    with pytest.raises(ValueError, match="contrast"):
        ForegroundQuantileScale()(np.ones((1, 9, 1, 1)), np.ones((1, 9, 1, 1)))
    with pytest.raises(ValueError, match="empty"):
        ForegroundQuantileScale()(image, 0 * image)


def _contrast_of_lesion(share):
    """How far the lesion lies above the healthy median, in spreads of what is healthy, after standardisation."""
    rng = np.random.default_rng(0)
    healthy = rng.normal(100, 10, (1, 40, 40, 10)).astype(np.float32)
    sick, lesion = healthy.copy(), np.zeros((40, 40, 10), bool)
    lesion.reshape(-1)[: int(share * lesion.size)] = True
    sick[0, lesion] = 140
    inside = np.ones((1, *lesion.shape), bool)
    scale, learnt = ForegroundQuantileScale(), LandmarkStandardization(1)
    learnt.fit(scale.quantiles(healthy, inside)[None])
    values = learnt(torch.as_tensor(scale(sick, inside))[None]).numpy()[0, 0]
    normal = learnt(torch.as_tensor(scale(healthy, inside))[None]).numpy()[0, 0]
    assert values[lesion].min() > values[~lesion].max()
    return (values[lesion].mean() - np.median(values[~lesion])) / normal.std()


@pytest.mark.parametrize(("share", "kept"), [(0.1, 0.85), (0.2, 0.7), (0.28, 0.5)])
def test_a_large_lesion_is_not_dimmed_for_its_size(share, kept):
    assert _contrast_of_lesion(share) > kept * _contrast_of_lesion(0.005)


@pytest.mark.parametrize("background", [0.0, -1024.0, 3.5])
def test_brain_mask_largest_component_holes_filled(background):
    image = np.full((1, 20, 20, 20), background, dtype=np.float32)
    image[0, 4:14, 4:14, 4:14] = background + 10 + np.arange(10)
    image[0, 8:10, 8:10, 8:10] = background
    image[0, 5, 5, 5] = background - 40
    image[0, 17:19, 17, 17] = background + 30
    expected = np.zeros((1, 20, 20, 20), dtype=np.uint8)
    expected[0, 4:14, 4:14, 4:14] = 1
    np.testing.assert_array_equal(BrainMask()(image), expected)


def test_pad_width_by_hand():
    img = MetaTensor(torch.ones(1, 10, 30, 4), affine=torch.diag(torch.tensor([2.0, 1.0, 5.0, 1.0])))
    pad = PadToPhysicalSquare(margin_mm=1)
    out = pad(img)
    # The longer axis has 30 mm, with the margins 32 mm: 16 voxels of 2 mm, 32 of 1 mm.
    assert out.shape == (1, 16, 32, 4)
    assert out.sum() == img.sum()
    back = pad.inverse(out)
    assert back.shape == img.shape
    np.testing.assert_allclose(back.affine, img.affine)


def test_threshold_is_minus_log10_of_the_rate():
    score = torch.tensor([[1.9, 2.0, 2.1]])
    assert ThresholdAnomaly(rate=0.01)(score).tolist() == [[0, 0, 1]]
    assert ThresholdAnomaly(rate=0.001).threshold == pytest.approx(-math.log10(0.001))
    for kwargs in ({}, {"rate": 0.1, "threshold": 2}, {"rate": 0.0}, {"rate": 1.5}):
        with pytest.raises(ValueError):
            ThresholdAnomaly(**kwargs)


def test_mask_anomaly():
    mask = MetaTensor(torch.tensor([[[[1, 0]]]], dtype=torch.uint8), affine=2 * torch.eye(4))
    out = MaskAnomaly()(torch.full((1, 1, 1, 2), 3.0), mask)
    assert out.flatten().tolist() == [3.0, 0.0]
    assert torch.equal(out.affine, mask.affine)
    with pytest.raises(ValueError, match="different grids"):
        MaskAnomaly()(torch.ones(1, 1, 1, 3), mask)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("pattern", "stripped"),
    [
        ("ixi_t1/stripped/IXI0*.nii.gz", True),
        ("mslub/*/FLAIR.nii.gz", True),
        ("ixi_t1/raw/*.nii.gz", False),
        ("mslub_raw/*.nii.gz", False),
        ("ct_ich/0[5-8]*.nii.gz", False),
    ],
)
def test_real_scans_stripped_or_not(pattern, stripped):
    pre = AnomalyPreprocessing(image_size=32)
    files = sorted(SHARED.glob(pattern))[:8]
    assert files
    for file in files:
        if stripped:
            volume_ml = (
                float(pre({"image": str(file)}, end=3)["brain_mask"].sum()) * (8 if "ixi" in pattern else 1) / 1000
            )
            assert 900 < volume_ml < 2000
        else:
            with pytest.raises(ScanError, match="not skull-stripped"):
                pre({"image": str(file)}, end=3)
