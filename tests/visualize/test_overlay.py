# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from PIL import Image

from monai_cuas.visualize.overlay import draw_panel


def test_many_methods_are_broken_into_blocks_below_each_other(tmp_path):
    rng = np.random.default_rng(0)
    plain = {name: rng.random((12, 10)) for name in ("scan", "label", "brain")}
    names = [f"m{i}" for i in range(9)]
    row = {**plain, "brain": plain["brain"] > 0.1, "label": plain["label"] > 0.9, "title": "s", "aspect": 1.0}
    row["maps"] = {name: rng.random((12, 10)) * 3 for name in names}
    sizes = []
    for methods in (names[:8], names):
        draw_panel(tmp_path / "panel.png", [row], methods, 0.01)
        sizes.append(Image.open(tmp_path / "panel.png").size)
    # nine methods: five and four, so narrower than eight in a line and about twice as high
    assert sizes[1][0] < 0.8 * sizes[0][0]
    assert sizes[1][1] > 1.5 * sizes[0][1]
