# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import numpy as np

from monai_cuas.utils.resources import Usage


def test_usage_sees_time_and_memory():
    with Usage() as small:
        time.sleep(0.02)
    with Usage() as large:
        block = np.ones(25_000_000)  # 200 MB
    assert small.seconds >= 0.02
    assert block.nbytes / 2**20 * 0.8 < large.peak_mb - small.peak_mb
