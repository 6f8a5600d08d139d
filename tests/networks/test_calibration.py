# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The guaranteed scale, scans' p-values, and weights from before there were any."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cuas.calibration.scores import (
    keep_scan_scores,
    p_value,
    raw_values,
    require_rate,
    scan_statistic,
    threshold_at,
)
from monai_cuas.networks import load_weights, save_weights
from monai_cuas.networks.layers import MAX_SCANS, GuaranteedCalibration, ScoreCalibration
from monai_cuas.networks.nets import AttentionVAE
from monai_cuas.utils import CUASError

RATES = (0.5, 0.1, 0.01)


def _net() -> AttentionVAE:
    return AttentionVAE(image_size=24, channels=(4, 8), layers=(1, 1), latent_size=3)


def _guaranteed(n: int, thresholds, bound: float = 1.0) -> GuaranteedCalibration:
    scale = GuaranteedCalibration(RATES)
    scale.set_(torch.tensor(thresholds))
    keep_scan_scores(scale, np.arange(float(n)))
    scale.max_fraction.fill_(bound)
    return scale


def test_inverse_undoes_the_score():
    scale = ScoreCalibration(RATES)
    scale.set_(torch.tensor([0.2, 1.0, 4.0]))
    raw = np.linspace(0.0, 9.0, 200)
    score = scale(torch.as_tensor(raw)).numpy()
    np.testing.assert_allclose(raw_values(scale, score)[score > 0], raw[score > 0], atol=1e-9)
    np.testing.assert_array_equal(raw_values(ScoreCalibration(RATES), raw), raw)


def test_inverse_where_the_highest_thresholds_are_equal():
    scale = ScoreCalibration(RATES)
    scale.set_(torch.tensor([0.2, 1.0, 1.0]))
    raw = np.array([0.3, 0.9, 1.0, 1.2, 5.0])
    np.testing.assert_allclose(raw_values(scale, scale(torch.as_tensor(raw)).numpy()), raw, atol=1e-9)


def test_p_value_by_hand_and_its_rank_knows_nothing_of_the_thresholds():
    raw = np.linspace(0.0, 5.5, 1000)  # the highest 0.1%: one voxel, 5.5
    for thresholds in ([0.1, 2.0, 3.0], [0.1, 4.0, 20.0]):
        scale = _guaranteed(9, thresholds)
        score = scale(torch.as_tensor(raw)).numpy()
        assert scan_statistic(scale, score) == pytest.approx(5.5)
        assert p_value(scale, score) == pytest.approx((1 + 3) / 10)  # 6, 7 and 8 are as high
    assert np.isnan(p_value(GuaranteedCalibration(RATES), raw))


def test_p_values_of_exchangeable_scans_are_uniform():
    """Of 1/(n+1), ..., 1 each is as likely; ties only raise a p-value."""
    generator, n = np.random.default_rng(0), 9
    p = []
    for _ in range(2000):
        scale = ScoreCalibration(RATES)
        scans = generator.standard_t(2, n + 1)  # heavy tails
        keep_scan_scores(scale, scans[:n])
        p.append(p_value(scale, np.full(10, scans[n])))
    counts = np.bincount(np.round(np.array(p) * (n + 1)).astype(int), minlength=n + 2)[1:]
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi squared, 9 degrees of freedom, 0.1%
    for alpha in (0.1, 0.2, 0.5):
        assert np.mean(np.array(p) <= alpha + 1e-12) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / len(p))


def test_scans_beyond_the_buffer_are_left_out():
    scale = ScoreCalibration(RATES)
    keep_scan_scores(scale, np.arange(MAX_SCANS + 5))
    assert scale.n_scans == MAX_SCANS
    keep_scan_scores(scale, [1.0, 2.0])
    assert scale.n_scans == 2


@pytest.mark.parametrize("bound", [1.0, 0.25, 0.1])
def test_cap_raises_the_threshold_of_that_scan_alone(bound):
    scale = _guaranteed(20, [0.1, 0.2, 0.3], bound)
    calm = torch.linspace(0, 1, 200)
    alarmed = torch.cat([torch.full((60,), 0.2), torch.linspace(2, 3, 120), torch.full((20,), 3.0)])
    assert scale.scan_threshold(calm, 0.95) == 0.95
    threshold = scale.scan_threshold(alarmed, 1.5)
    found = int((alarmed >= threshold).sum())
    assert found <= bound * 200
    if bound == 1.0:
        assert threshold == 1.5
    elif bound == 0.25:
        assert found == 50
        assert int((alarmed > threshold).sum()) == 50  # the mask's comparison
    else:  # 21 share the highest value: not one may be found
        assert found == 0
    assert ScoreCalibration(RATES).scan_threshold(alarmed, 1.5) == 1.5


@pytest.mark.parametrize(
    ("scale", "rate", "words"),
    [
        (GuaranteedCalibration(RATES), 0.01, "carry no guaranteed thresholds"),
        (
            _guaranteed(12, [1.0, 2.0, float("nan")]),
            0.01,
            "at least 99 normal scans, or with --max_fraction below 0.13",
        ),
        (_guaranteed(3, [1.0, 2.0, float("nan")], 0.1), 0.01, "at least 9 normal scans, or with --max_fraction below"),
        (_guaranteed(12, [1.0, 2.0, 3.0], 0.1), 0.1, "rate 0.1 is not below 0.1, the largest share"),
        (_guaranteed(12, [1.0, 2.0, float("nan")]), 0.03, "for the healthy rate 0.03; ask for one of 0.5, 0.1, 0.01"),
    ],
)
def test_what_is_not_guaranteed_is_one_sentence(scale, rate, words):
    with pytest.raises(CUASError) as error:
        require_rate(scale, rate)
    assert words in str(error.value)
    assert str(error.value).count(". ") == 0


def test_supported_rate_passes():
    scale = _guaranteed(12, [1.0, 2.0, float("nan")])
    score = -np.log10(0.1)
    require_rate(scale, 10**-score)  # as the config asks, which knows the score alone
    assert threshold_at(scale, 0.1) == 2.0


def test_guarantee_travels_with_the_weights_and_through_torchscript(tmp_path):
    net = _net().eval()
    net.calibration.set_(torch.linspace(0, 1, 11))
    guaranteed = net.calibration.guaranteed
    guaranteed.set_(torch.linspace(0, 2, 11))
    keep_scan_scores(guaranteed, [1.0, 2.0, 3.0])
    guaranteed.max_fraction.fill_(0.2)
    save_weights(net, tmp_path / "model.pt")
    loaded = load_weights(_net(), tmp_path / "model.pt").calibration.guaranteed
    assert (loaded.n_scans, float(loaded.max_fraction), threshold_at(loaded, 0.001)) == (3, pytest.approx(0.2), 2.0)
    scripted = torch.jit.script(net)
    x = torch.linspace(-1, 3, 50)
    torch.testing.assert_close(scripted.calibration.guaranteed(x), guaranteed(x))
    torch.testing.assert_close(scripted.calibration(x), net.calibration(x))
