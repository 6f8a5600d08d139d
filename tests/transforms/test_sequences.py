# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import SliceInferer
from scipy import ndimage
from torch.utils.data import DataLoader

from monai_cuas.data.landmarks import collect_landmarks
from monai_cuas.data.scans import scan_datalist
from monai_cuas.data.slices import SliceDataset
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.losses import AttentionEntropyLoss, ConstrainedVAELoss, ELBOLoss
from monai_cuas.networks.layers import DEFAULT_LEVELS
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing, LoadScand
from monai_cuas.utils import ScanError

SHARED = Path(os.environ.get("MONAI_CUAS_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"

AFFINE = np.diag([1.0, 1.2, 2.0, 1.0])
SHAPE = (48, 44, 28)
CENTRE = np.array([24.0, 26.0, 27.0])
BLOB = CENTRE + [7.0, -5.0, 6.0]


def head(affine, shape, tissue=100.0, blob=300.0, background=0.0):
    """A ball of tissue with a smooth bright blob at one place of the world, on any grid."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], [1], indexing="ij")).reshape(4, -1)
    world = (affine @ index)[:3].T
    inside = ((world - CENTRE) ** 2).sum(1) < 19**2
    bright = np.exp(-((world - BLOB) ** 2).sum(1) / (2 * 3.0**2))
    return np.where(inside, tissue + 0.3 * world[:, 0] + blob * bright, background).reshape(shape).astype(np.float32)


def rotated(degrees, spacing, shift=(0, 0, 0), shape=(70, 70, 50)):
    """A grid about the ball's centre with turned axes."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    out = np.eye(4)
    out[:3, :3] = turn @ tilt @ np.diag(spacing)
    out[:3, 3] = CENTRE + shift - out[:3, :3] @ (np.array(shape) / 2)
    return out


def save(path, image, affine):
    nib.save(nib.Nifti1Image(image, affine), path)
    return str(path)


@pytest.fixture
def first(tmp_path):
    return save(tmp_path / "flair.nii.gz", head(AFFINE, SHAPE), AFFINE)


@pytest.mark.parametrize(
    ("degrees", "spacing", "background"), [(0, (0.8, 0.8, 0.9), 0), (25, (0.9, 0.9, 1.1), 0), (-70, (0.9, 1, 1), -1024)]
)
def test_other_grids_are_resampled_in_place(tmp_path, first, degrees, spacing, background):
    affine = rotated(degrees, spacing)
    second = save(tmp_path / "t1.nii.gz", head(affine, (70, 70, 50), 500, 1500, background), affine)
    image = LoadScand("image")({"image": [first, second]})["image"]
    assert image.shape == (2, *SHAPE)
    np.testing.assert_array_equal(image.affine, nib.load(first).affine)
    # What the first grid would have shown of the second sequence: equal away from the ball's edge.
    truth = head(AFFINE, SHAPE, 500, 1500, background)
    world = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1) * np.diag(AFFINE)[:3]
    distance = np.linalg.norm(world - CENTRE, axis=-1)
    got, core = image[1].numpy(), distance < 17
    assert np.abs(got - truth)[core].max() < 60
    assert np.corrcoef(got[core], truth[core])[0, 1] > 0.999
    np.testing.assert_array_equal(got[distance > 21], background)
    where = [ndimage.center_of_mass(np.where(core, np.maximum(volume - 700, 0), 0)) for volume in (got, truth)]
    np.testing.assert_allclose(*where, atol=0.1)


def test_one_grid_is_left_as_it_is(tmp_path, first):
    array = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    image = LoadScand("image")({"image": [first, save(tmp_path / "t1.nii.gz", array, AFFINE)]})["image"]
    np.testing.assert_array_equal(image[1], array)


def test_flipped_axes_are_the_same_place(tmp_path, first):
    flip = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    second = save(tmp_path / "t1.nii.gz", head(AFFINE, SHAPE)[::-1], flip)
    image = LoadScand("image")({"image": [first, second]})["image"]
    np.testing.assert_allclose(image[1], image[0], atol=1e-3)


def test_uncovered_part_is_outside_the_brain(tmp_path, first):
    # The second sequence lacks the first 12 voxels of the first axis.
    short = AFFINE.copy()
    short[0, 3] = 12
    second = save(tmp_path / "t1.nii.gz", head(AFFINE, SHAPE)[12:], short)
    data = AnomalyPreprocessing(image_size=32)({"image": [first, second]})
    mask = data["brain_mask"][0].numpy()
    assert not mask[:12].any()
    np.testing.assert_array_equal(mask[12:], head(AFFINE, SHAPE)[12:] > 0)


def test_bad_sequences(tmp_path, first):
    def load(*others):
        return LoadScand("image")({"image": [first, *map(str, others)]})

    with pytest.raises(ScanError, match="no such files") as caught:
        load(tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz")
    assert "t1.nii.gz" in str(caught.value)
    assert "t2.nii.gz" in str(caught.value)
    assert "flair" not in str(caught.value)
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] = 500
    with pytest.raises(ScanError, match="t1.nii.gz: its field of view does not overlap that of .*flair"):
        load(save(tmp_path / "t1.nii.gz", head(AFFINE, SHAPE), elsewhere))
    elsewhere[0, 3] = 30
    with pytest.raises(ScanError, match=r"covers only \d+%"):
        load(save(tmp_path / "t1.nii.gz", head(AFFINE, SHAPE), elsewhere))
    with pytest.raises(ScanError, match="t1.nii.gz: not one 3D volume but several"):
        load(save(tmp_path / "t1.nii.gz", np.stack([head(AFFINE, SHAPE)] * 2, -1), AFFINE))
    broken = head(AFFINE, SHAPE)
    broken[20, 20, 10] = np.nan
    for affine in (AFFINE, rotated(20, (1, 1.2, 2), shape=SHAPE)):
        with pytest.raises(ScanError, match="t1.nii.gz: 1 voxels are NaN"):
            AnomalyPreprocessing()({"image": [first, save(tmp_path / "t1.nii.gz", broken, affine)]})
    with pytest.raises(ScanError, match="t1.nii.gz: all voxels are zero"):
        AnomalyPreprocessing()({"image": [first, save(tmp_path / "t1.nii.gz", 0 * head(AFFINE, SHAPE), AFFINE)]})


def test_number_of_sequences(first):
    with pytest.raises(ScanError, match="1 sequence, but the network takes 3; give a list of 3 files"):
        AnomalyPreprocessing(in_channels=3)({"image": first})
    with pytest.raises(ScanError, match="2 sequences, but the network takes 1"):
        AnomalyPreprocessing(in_channels=1)({"image": [first, first]})
    assert AnomalyPreprocessing(in_channels=2, image_size=32)({"image": [first, first]})["image"].shape[0] == 2


def cohort(folder, n):
    """Three sequences of each subject on three grids."""
    items = []
    for k in range(n):
        rng, files = np.random.default_rng(k), []
        for name, affine, shape in (
            ("flair", AFFINE, SHAPE),
            ("t1", rotated(10, (1, 1, 1.1), rng.uniform(-2, 2, 3)), (70, 70, 50)),
            ("t2", rotated(-15, (1.2, 1.2, 1.5), rng.uniform(-2, 2, 3)), (70, 70, 50)),
        ):
            image = head(affine, shape, 100 + 50 * len(files), blob=0)
            files.append(
                save(folder / f"{k}_{name}.nii.gz", image * rng.normal(1, 0.05, shape).astype(np.float32), affine)
            )
        items.append({"image": files, "subject": str(k)})
    return items


def infer(network, preprocessing, image):
    inferer = CalibratedInferer(SliceInferer(roi_size=[32, 32], spatial_dim=2, sw_batch_size=16), raw=True)
    data = preprocessing({"image": image})
    with torch.no_grad():
        pred = inferer(data["image"][None], network.eval())[0]
    return AnomalyPostprocessing(preprocessing, rate=None)({**data, "pred": pred})


def tiny(landmarks):
    network = AttentionVAE(in_channels=3, image_size=32, channels=(4, 4, 8, 8), layers=(1, 1, 1, 1), latent_size=4)
    network.standardize.fit(landmarks)
    return network


def test_train_and_infer_on_three_channels(tmp_path):
    items = cohort(tmp_path, 3)
    preprocessing = AnomalyPreprocessing(image_size=32, in_channels=3)
    landmarks = collect_landmarks(items[:2], preprocessing, progress=False)
    assert landmarks.shape == (2, 3, len(DEFAULT_LEVELS))
    torch.manual_seed(0)
    network = tiny(landmarks).train()
    slices = SliceDataset(items[:2], preprocessing.for_slices(), tmp_path / "cache", progress=False)
    loss = ConstrainedVAELoss(ELBOLoss(), AttentionEntropyLoss(), weight=0.1)
    optimizer, losses = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(3):
        for batch in DataLoader(slices, batch_size=8):
            optimizer.zero_grad()
            losses.append(loss(network(batch["image"]), batch["brain_mask"]))
            losses[-1].backward()
            optimizer.step()
    assert losses[-1] < losses[0]
    (scan,) = scan_datalist([items[2]["image"]])
    assert scan == {"image": items[2]["image"], "name": "2_flair"}
    out = infer(network, preprocessing, scan["image"])
    assert out["anomaly"].shape == (1, *SHAPE)
    np.testing.assert_array_equal(out["anomaly"].affine, nib.load(items[2]["image"][0]).affine)
    assert torch.isfinite(out["anomaly"]).all()
    assert out["anomaly"].std() > 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_mslub_three_sequences(tmp_path):
    files = [str(SHARED / "mslub" / "patient07" / f"{name}.nii.gz") for name in ("FLAIR", "T1W", "T2W")]
    preprocessing = AnomalyPreprocessing(image_size=32, in_channels=3)
    network = tiny(preprocessing.landmarks({"image": files})[None])
    out = infer(network, preprocessing, files)
    flair = nib.load(files[0])
    assert out["anomaly"].shape == (1, *flair.shape)
    np.testing.assert_allclose(out["anomaly"].affine, flair.affine)
