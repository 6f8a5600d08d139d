# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What is fitted to normal scans after a training, fitted again, for weights of before it changed:

    python benchmarks/refit.py --model RUN/model.pt --dataset_dir DATA --output NEW.pt

Level, texture, contrast and worth come of the validation (and, for texture and contrast, training) scans, thresholds of
the calibration scans, as at the end of a training. The learnt weights are not touched, nor, with ``--keep_thresholds``,
the thresholds and what is said of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_cuas import load_model
from monai_cuas.calibration.fit import calibrate
from monai_cuas.calibration.normal_level import fit_normal_level
from monai_cuas.calibration.normals import calibration_scans
from monai_cuas.data.datalist import load_datalist
from monai_cuas.inferers import JoinedMapInferer
from monai_cuas.transforms import AnomalyPostprocessing


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="the folder that the training had")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--keep_thresholds", action="store_true", help="fit all but the thresholds")
    args = parser.parse_args()
    model = load_model(args.model)
    preprocessing = model.preprocessing()
    training, validation = (
        load_datalist(args.dataset_dir / "dataset.json", name) for name in ("training", "validation")
    )
    inferer = model.map_inferer()
    if isinstance(inferer, JoinedMapInferer):
        slices = preprocessing.for_slices()
        fit_normal_level(model.network, validation, slices, inferer, model.device, training)
    if args.keep_thresholds:
        model.save(model.calibration, args.output)
        return
    report = calibrate(
        model.network,
        calibration_scans(args.dataset_dir),
        preprocessing,
        model.inferer(),
        AnomalyPostprocessing(preprocessing, rate=None),
        model.device,
        str(args.output.with_suffix("")) + "_calibration.json",
        weights=str(args.output),
    )
    model.save(report, args.output)


if __name__ == "__main__":
    main()
