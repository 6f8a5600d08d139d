# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
How many scans of each contrast are noted as of another one than a model's normal scans:

    python benchmarks/real/contrast.py --model flair --groups "LGG FLAIR=DATA/lgg/flair/*" "LGG T1=DATA/lgg/t1/*"

A group is a name and a pattern of files. Lesions are in the scans, as they are in a user's.
"""

from __future__ import annotations

import argparse
import glob

from monai_cuas import load_model
from monai_cuas.inferers import depth_contrast_of, texture_of
from monai_cuas.utils import CUASError


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--groups", nargs="+", required=True, metavar="NAME=PATTERN")
    args = parser.parse_args()
    model = load_model(args.model)
    preprocessing, level = model.preprocessing(), model.network.normal_level
    print(f"Contrast of normals: {level.contrast.tolist()}, texture: {level.texture.tolist()}\n")  # type: ignore[union-attr]
    print(
        "| scans | of them | lowest | median | highest | noted by contrast | by contrast or texture |\n"
        + "|---" * 7
        + "|"
    )
    for group in args.groups:
        name, pattern = group.split("=", 1)
        found = []
        for path in sorted(glob.glob(pattern)):
            try:
                volume = preprocessing({"image": path})["image"][None]
            except CUASError as error:
                print(f"{path}: {error}")
                continue
            contrast, texture = depth_contrast_of(volume), texture_of(volume, model.network)
            other = level.is_other_contrast(contrast)  # type: ignore[union-attr,operator]
            found.append((contrast, other, other or level.is_strange(texture)))  # type: ignore[union-attr,operator]
        contrasts, others, either = zip(*sorted(found))
        spread = " | ".join(f"{contrasts[k]:.2f}" for k in (0, len(found) // 2, -1))
        print(f"| {name} | {len(found)} | {spread} | {sum(others)} | {sum(either)} |")


if __name__ == "__main__":
    main()
