# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import DataLoader, Dataset, decollate_batch
from scipy import ndimage

from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing
from monai_cuas.utils import CUASError, ScanError

SHAPE = (41, 52, 33)


def brain(shape=SHAPE, seed=0):
    """An ellipsoid of tissue with noise and an off-centre bright blob; RAS, background 0."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (grid**2).sum(0) < 0.8**2
    image = np.where(inside, 100 + 20 * grid[1] + rng.normal(0, 3, shape), 0).astype(np.float32)
    centre = np.array([0.35, -0.25, 0.2])[:, None, None, None]
    blob = (((grid - centre) / np.array([0.2, 0.3, 0.25])[:, None, None, None]) ** 2).sum(0) < 1
    image[blob] += 150
    return image, blob


def affine_of(spacing=(1.0, 1.0, 1.0), angles=(0, 0, 0), origin=(-30.0, 12.5, 7.0)):
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        i, j = [k for k in range(3) if k != axis]
        r = np.eye(3)
        r[i, i] = r[j, j] = np.cos(angle)
        r[i, j], r[j, i] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ r
    out = np.eye(4)
    out[:3, :3] = rotation * np.asarray(spacing)
    out[:3, 3] = origin
    return out


def reoriented(array, affine, codes):
    """The same scan stored in another order and direction of axes."""
    ornt = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    return (
        np.ascontiguousarray(nib.orientations.apply_orientation(array, ornt)),
        affine @ nib.orientations.inv_ornt_aff(ornt, array.shape),
    )


ORIENTATIONS = ["".join(c) for p in itertools.permutations(["LR", "PA", "IS"]) for c in itertools.product(*p)]


def check(tmp_path, image, blob, affine, min_dice=0.85, batched=False, **kwargs):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image, affine), path)
    pre = AnomalyPreprocessing(**{"image_size": 64, **kwargs})
    post = AnomalyPostprocessing(pre, threshold=BETWEEN)
    if batched:
        batch = next(iter(DataLoader(Dataset([{"image": str(path)}], pre), batch_size=1)))
        batch["pred"] = batch["image"][:, :1].clone()
        data = post(decollate_batch(batch)[0])
    else:
        data = pre({"image": str(path)})
        # A plain tensor, as a network gives it.
        data = post({**data, "pred": data["image"][:1].as_tensor().clone()})
    mask = data["pred"].numpy()[0] > 0
    assert data["pred"].dtype == torch.uint8
    assert mask.shape == image.shape
    np.testing.assert_array_equal(data["pred"].affine.numpy(), nib.load(path).affine)
    np.testing.assert_array_equal(data["anomaly"].affine.numpy(), nib.load(path).affine)
    dice = 2 * (mask & blob).sum() / (mask.sum() + blob.sum())
    shift = np.abs(np.subtract(ndimage.center_of_mass(mask), ndimage.center_of_mass(blob)))
    assert shift.max() < 0.5, shift
    assert dice > min_dice, dice
    assert (data["anomaly"].numpy()[0][image == 0] == 0).all()
    return data


def blob_scan(spacing=(1.0, 1.0, 1.0), **kwargs):
    image, blob = brain()
    return image, blob, affine_of(spacing, **kwargs)


# The blob covers a few percent of the brain: with the top landmark at 0.9 it lies far above the normal tissue.
LEVELS = (0.01, 0.1, 0.5, 0.9)
BETWEEN = 2.7


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation(tmp_path, codes):
    image, blob, affine = blob_scan((1.0, 1.3, 2.0), angles=(8, -6, 15))
    image, new = reoriented(image, affine, codes)
    blob = reoriented(blob.astype(np.uint8), affine, codes)[0] > 0
    check(tmp_path, image, blob, new, levels=LEVELS)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("resize", [False, True])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.7, 4.0), (3.0, 0.8, 1.1)])
def test_spacing_and_batch(tmp_path, spacing, resize, batched):
    check(tmp_path, *blob_scan(spacing, angles=(20, 0, -10)), levels=LEVELS, resize=resize, batched=batched)


def test_network_grid_is_square_in_mm_and_axial_last(tmp_path):
    image, _, affine = blob_scan((2.0, 1.0, 1.0))
    image, affine = reoriented(image, affine, "SPL")
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    data = AnomalyPreprocessing(image_size=64, slice_mask=True, margin_mm=3)({"image": str(tmp_path / "a.nii.gz")})
    img = data["image"]
    assert img.shape[:3] == (1, 64, 64)
    assert nib.aff2axcodes(img.affine.numpy()) == ("R", "A", "S")
    assert img.pixdim[0] == pytest.approx(float(img.pixdim[1]), rel=0.03)
    assert ((img != 0) == (data["slice_mask"] > 0)).all()
    assert data["brain_mask"].shape[1:] == image.shape


def test_label_goes_along(tmp_path):
    image, blob, affine = blob_scan((1.0, 1.3, 2.0), angles=(8, -6, 15))
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(blob.astype(np.uint8), affine), tmp_path / "l.nii.gz")
    pre = AnomalyPreprocessing(image_size=64, levels=LEVELS).for_slices()
    data = pre({"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "l.nii.gz")})
    bright, label = data["image"].numpy() > BETWEEN, data["label"].numpy() > 0
    assert 2 * (bright & label).sum() / (bright.sum() + label.sum()) > 0.85
    assert "label" not in pre({"image": str(tmp_path / "a.nii.gz")})
    wrong = affine.copy()
    wrong[0, 3] += 5
    nib.save(nib.Nifti1Image(blob.astype(np.uint8), wrong), tmp_path / "l.nii.gz")
    with pytest.raises(ScanError, match="grid"):
        pre({"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "l.nii.gz")})


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha"])
def test_simpleitk_formats_equal_nifti(tmp_path, name):
    image, _, affine = blob_scan((1.0, 1.3, 2.0), angles=(8, -6, 15))
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / name))
    pre = AnomalyPreprocessing(image_size=32)
    a, b = pre({"image": str(tmp_path / "a.nii.gz")}), pre({"image": str(tmp_path / name)})
    np.testing.assert_allclose(a["brain_mask"].affine, b["brain_mask"].affine, atol=1e-4)
    np.testing.assert_allclose(a["image"], b["image"], atol=1e-4)


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (0.01, 0), (7, -1024), (1, 500)])
def test_scale_and_background_do_not_matter(tmp_path, scale, offset):
    image, _, affine = blob_scan()
    pre = AnomalyPreprocessing(image_size=32)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image((image * scale + offset).astype(np.float32), affine), tmp_path / "b.nii.gz")
    a, b = pre({"image": str(tmp_path / "a.nii.gz")}), pre({"image": str(tmp_path / "b.nii.gz")})
    assert torch.equal(a["brain_mask"].as_tensor(), b["brain_mask"].as_tensor())
    np.testing.assert_allclose(a["image"], b["image"], atol=2e-3)


def test_smallest_component_in_ml_and_voxels(tmp_path):
    image, _, affine = blob_scan((2.0, 2.0, 2.0))
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    pre = AnomalyPreprocessing(image_size=32)
    data = pre({"image": str(tmp_path / "a.nii.gz")})
    full = AnomalyPostprocessing(pre, threshold=0.0)({**data, "pred": data["image"]})["pred"]
    volume_ml = float(full.sum()) * 8 / 1000
    for kwargs, left in [
        ({"min_component_ml": volume_ml * 0.9}, True),
        ({"min_component_ml": volume_ml * 1.1}, False),
        ({"min_component_voxels": int(full.sum()) + 1}, False),
    ]:
        out = AnomalyPostprocessing(pre, threshold=0.0, **kwargs)({**data, "pred": data["image"]})
        assert bool(out["pred"].any()) is left
    only_map = AnomalyPostprocessing(pre, rate=None)({**data, "pred": data["image"]})
    assert torch.equal(only_map["pred"], only_map["anomaly"])
    smooth = AnomalyPostprocessing(pre, rate=None, median_radius=1)({**data, "pred": data["image"]})
    assert smooth["anomaly"].std() < only_map["anomaly"].std()


def _write(tmp_path, array, affine=None):
    path = tmp_path / "bad.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4) if affine is None else affine), path)
    return path


def _truncated(tmp_path, image):
    path = _write(tmp_path, image)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def _text(tmp_path, _):
    path = tmp_path / "bad.nii.gz"
    path.write_text("this is not a scan, whatever it is called\n" * 20)
    return path


def _gzipped_text(tmp_path, _):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(gzip.compress(b"not a scan " * 200))
    return path


def _with(image, value):
    image = image.copy()
    image[20, 20, 15] = value
    return image


def _empty_folder(tmp_path, _):
    (tmp_path / "bad.d").mkdir()
    return tmp_path / "bad.d"


BAD = {
    "missing": (lambda t, i: t / "bad.nii.gz", "no such file"),
    "truncated": (_truncated, "truncated"),
    "text": (_text, "not an image"),
    "gzipped text": (_gzipped_text, "not an image"),
    "empty folder": (_empty_folder, "no DICOM series"),
    "zeros": (lambda t, i: _write(t, i * 0), "all voxels are zero"),
    "constant": (lambda t, i: _write(t, i * 0 + 5), "same value"),
    "mask": (lambda t, i: _write(t, i > 0), "constant inside"),
    "nan": (lambda t, i: _write(t, _with(i, np.nan)), "NaN"),
    "inf": (lambda t, i: _write(t, _with(i, np.inf)), "NaN or infinite"),
    "2d": (lambda t, i: _write(t, i[:, :, 15]), "2D|single slice"),
    "one slice": (lambda t, i: _write(t, i[:, :, 15:16]), "single slice"),
    "4d": (lambda t, i: _write(t, np.stack([i, i], -1)), "several"),
    "noise around": (lambda t, i: _write(t, i + np.random.default_rng(0).normal(0, 1, i.shape)), "not skull-stripped"),
    "head": (lambda t, i: _write(t, i, affine_of((6, 6, 6))), "not skull-stripped"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_with_the_file(tmp_path, case):
    make, match = BAD[case]
    path = make(tmp_path, brain()[0])
    with pytest.raises(ScanError, match=match) as caught:
        AnomalyPreprocessing(image_size=32)({"image": str(path)})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, CUASError)
    # the words that a user has to add to the command
    assert ("--brain_extraction hd-bet" in str(caught.value)) == (match == "not skull-stripped")


def test_unstripped_is_let_through_on_request(tmp_path):
    path = _write(tmp_path, brain()[0], affine_of((6, 6, 6)))
    assert AnomalyPreprocessing(image_size=32, allow_unstripped=True)({"image": str(path)})["image"].any()


def test_window_clips_and_keeps_the_mask(tmp_path):
    image, _ = brain()
    path = _write(tmp_path, np.where(image > 0, image, -1024))
    q = AnomalyPreprocessing(window=[90, 110]).landmarks({"image": str(path)})
    assert q.min() >= 90
    assert q.max() <= 110
    narrow, wide = (AnomalyPreprocessing(window=w)({"image": str(path)})["brain_mask"] for w in ([90, 110], None))
    assert torch.equal(narrow, wide)


@pytest.mark.parametrize(
    "kwargs",
    [{"window": [5, 1]}, {"image_size": 2}, {"levels": (0.5, 0.2)}, {"margin_mm": -1}, {"keys": ["a", "b"]}],
)
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError):
        AnomalyPreprocessing(**kwargs)
