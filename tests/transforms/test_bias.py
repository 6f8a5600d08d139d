# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cuas.transforms import AnomalyPreprocessing, N4BiasCorrection, N4BiasCorrectiond
from monai_cuas.utils import ScanError

SHAPE, SPACING = (40, 44, 30), (2.0, 2.0, 2.5)


def shaded(seed=0):
    """Two tissues with noise, and the same behind a smooth field of about +-40%."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    mask = (grid**2).sum(0) < 0.85**2
    inner = ((grid * np.array([1.0, 1.3, 1.1])[:, None, None, None]) ** 2).sum(0) < 0.5**2
    clean = np.where(inner, 150.0, 100.0) * rng.normal(1, 0.02, SHAPE) * mask
    field = np.exp(0.35 * grid[0] + 0.25 * grid[1] * grid[2] - 0.15 * grid[1] ** 2)
    return clean, clean * field, mask, inner


def cv(image, where):
    return image[where].std() / image[where].mean()


def test_field_is_removed():
    clean, dirty, mask, inner = shaded()
    img = MetaTensor(torch.from_numpy(dirty).float()[None], affine=np.diag([*SPACING, 1.0]))
    out = N4BiasCorrection()(img, torch.from_numpy(mask)[None])
    assert isinstance(out, MetaTensor)
    assert out.dtype == torch.float32
    assert torch.equal(out.affine, img.affine)
    for tissue in (inner, mask & ~inner):
        before, after = cv(dirty, tissue), cv(out[0].numpy(), tissue)
        assert before > 0.06
        assert after < before / 3
    # Once more: the same digits.
    assert torch.equal(out, N4BiasCorrection()(img, torch.from_numpy(mask)[None]))


def test_field_is_kept_by_content(tmp_path, monkeypatch):
    _, dirty, mask, _ = shaded()
    image, inside = dirty[None].astype(np.float32), mask[None]
    plain = N4BiasCorrection()(image, inside)
    kept = N4BiasCorrection(cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(kept(image, inside), plain)
    monkeypatch.setattr(N4BiasCorrection, "_fit", lambda *_: pytest.fail("was to be read"))
    np.testing.assert_array_equal(kept(image, inside), plain)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1
    # Far smaller than the scan.
    assert next((tmp_path / "cache").glob("*.npz")).stat().st_size < image.nbytes / 10


def test_contrast_stays():
    clean, _, mask, inner = shaded()
    out = N4BiasCorrection()(clean[None].astype(np.float32), mask[None])[0]
    ratio = out[inner].mean() / out[mask & ~inner].mean()
    assert ratio == pytest.approx(1.5, rel=0.05)


def test_dictionary_and_channels(tmp_path):
    _, dirty, mask, _ = shaded()
    for name, array in (("a", dirty), ("b", dirty[::-1])):
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.diag([*SPACING, 1.0])), tmp_path / f"{name}.nii.gz")
    item = {"image": [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]}
    pre = AnomalyPreprocessing(image_size=32, bias_correction=True)
    corrected, plain = pre(item, end=pre._n_reading)["image"], AnomalyPreprocessing(image_size=32)(item, end=3)["image"]
    for k, tissue in enumerate((mask, mask[::-1])):
        assert cv(corrected[k].numpy(), tissue) < cv(plain[k].numpy(), tissue)
    with pytest.raises(ScanError, match="positive.*bias_correction to false"):
        N4BiasCorrectiond("image")({"image": torch.full((1, *SHAPE), -1.0), "brain_mask": torch.ones(1, *SHAPE)})


@pytest.mark.parametrize("kwargs", [{"spacing_mm": 0}, {"iterations": []}, {"iterations": [0]}])
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError):
        N4BiasCorrection(**kwargs)
