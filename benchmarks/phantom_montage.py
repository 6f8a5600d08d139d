# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw docs/images/phantom_montage.png: one row a contrast, one column a kind, lesions outlined in red."""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from monai_cuas.phantom import CONTRASTS, LESION_KINDS, make_phantom_subject


def main(path: str = "docs/images/phantom_montage.png") -> None:
    """Write the montage."""
    figure, axes = plt.subplots(len(CONTRASTS), len(LESION_KINDS) + 1, figsize=(11, 8.6), facecolor="black")
    for row, contrast in zip(axes, CONTRASTS):
        for column, (axis, kind) in enumerate(zip(row, (None, *LESION_KINDS))):
            subject = make_phantom_subject(7, column, kind, contrast)
            label = subject.label if subject.label is not None else np.zeros(subject.image.shape, dtype=np.uint8)
            level = int(label.sum((0, 1)).argmax()) if label.any() else subject.image.shape[2] // 2
            image = subject.image[:, :, level].T
            axis.imshow(image, cmap="gray", origin="lower", vmin=0, vmax=np.percentile(image[image > 0], 99.7))
            if label[:, :, level].any():
                axis.contour(label[:, :, level].T, [0.5], colors="red", linewidths=0.6)
            note = f" {subject.record['size_mm']:.0f} mm, {subject.record['contrast']:+.2f}" if kind else ""
            axis.set_title(f"{contrast} {kind or 'normal'}{note}", color="white", fontsize=6.5)
            axis.axis("off")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=90, facecolor="black")


if __name__ == "__main__":
    main(*sys.argv[1:])
