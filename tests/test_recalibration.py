# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of thresholds at another site, on scans whose intensities are the map."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_cuas import load_model
from monai_cuas.inferers import StandardizedIntensityInferer
from monai_cuas.networks.nets import StandardizedIntensity
from monai_cuas.recipe import describe, write_model
from monai_cuas.transforms import AnomalyPreprocessing

from .benchmark_modules import FOLDER, benchmark

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's benchmarks")


@pytest.fixture(scope="module")
def recalibration():
    with benchmark("recalibration") as module:
        yield module


def _scans(folder, name, n, grain):
    """Balls of noise whose grains are so large, in voxels."""
    folder.mkdir(exist_ok=True)
    x = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij")) - 15.5
    brain, entries = (x**2).sum(axis=0) < 13**2, []
    for seed in range(n):
        draw = np.random.default_rng([seed, len(name)])
        noise = gaussian_filter(draw.normal(size=brain.shape), grain)
        image = np.where(brain, 100 + 8 * noise / noise.std(), 0)
        file = folder / f"{name}{seed}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([5.0, 5.0, 5.0, 1.0])), file)
        entries.append({"image": str(file), "subject": f"{name}{seed}"})
    return entries


def test_own_normals_restore_the_rate(recalibration, tmp_path):
    network = StandardizedIntensity()
    network.standardize.fit(torch.linspace(0, 10, network.standardize.landmarks.shape[1]).view(1, 1, -1))
    recipe = describe(network, AnomalyPreprocessing(), StandardizedIntensityInferer(smoothing=5.0), "smoothed")
    write_model(tmp_path / "model.pt", network, recipe)
    # smoothing leaves more of larger grains
    first, second = _scans(tmp_path, "a", 4, 0.0), _scans(tmp_path, "bb", 9, 1.0)
    site = recalibration.Site(load_model(tmp_path / "model.pt", "cpu"))
    rows = recalibration.run(site, first, second, [3, 6], 2)
    assert [(row["thresholds"], row["draw"]) for row in rows] == [(t, d) for d in (0, 1) for t in ("first", "3", "6")]
    assert {row["scans"] for row in rows} == {3}
    rate = {row["thresholds"]: row["pooled"] for row in rows}
    assert rate["first"] > 0.02
    assert rate["6"] == pytest.approx(0.01, rel=0.25)
    assert len(site.maps.maps) == len(first) + len(second)
    text = recalibration.table(rows)
    assert text.count("\n") == 4
    assert "| 6 own normals | " in text


def test_maps_are_remembered_scan_by_scan(recalibration):
    network, maps = StandardizedIntensity(), recalibration.Remembered(StandardizedIntensityInferer())
    one, other = torch.rand(2, 1, 1, 8, 8, 4)
    torch.testing.assert_close(maps(one, network), one)
    assert maps(one.clone(), None) is maps(one, None)  # no network is needed any more
    torch.testing.assert_close(maps(other, network), other)


def test_a_summary_by_hand(recalibration):
    found = recalibration.summary([(1, 100), (30, 1000)])
    assert found == pytest.approx({"pooled": 31 / 1100, "mean": 0.02, "largest": 0.03})
