# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What is replaced within a part of inference.json is refused where results would not be what their table says."""

from __future__ import annotations

import csv
import re

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.bundle.overrides import unknown_ids
from monai_cuas.data.datalist import load_datalist
from monai_cuas.utils import user_message

from .conftest import CONFIGS


@pytest.fixture
def infer(make_workflow, weights, phantom, tmp_path):
    """Function from overrides to the folder of the results of one scan."""

    def run(*files: str, **overrides):
        scan = load_datalist(str(phantom / "dataset.json"), "test_lesion")[0]["image"]
        ids = {"ckpt_path": str(weights), "input": scan, "output_dir": str(tmp_path / "told"), "device": "cpu"}
        make_workflow("inference.json", *files, workflow_type="infer", **ids, **overrides).run()
        return tmp_path / "told"

    return run


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"postprocessing#rate": 0.2}, "rate is 0.2 in the postprocessing, but 0.01"),
        ({"postprocessing#threshold": 0.7}, "threshold is 0.7 in the postprocessing"),
        ({"postprocessing#median_radius": 1}, "median_radius is 1 in the postprocessing, but 0.0"),
        ({"postprocessing#min_component_ml": 5.0}, "min_component_ml is 5.0 in the postprocessing"),
        ({"postprocessing#min_component_voxels": 9}, "min_component_voxels is 9"),
        ({"handlers#0#rate": 0.2}, "rate is 0.2 in the AnomalyResultSaver, but 0.01"),
        ({"handlers#0#options#min_component_ml": 3.0}, "min_component_ml is 3.0 in the AnomalyResultSaver"),
        ({"evaluator#postprocessing": None}, "The postprocessing of this run is not the model's own"),
        ({"postprocessing#scale": "$@network_def.calibration"}, "The postprocessing of this run"),
        ({"network": "$type(@network_def)()"}, "The network of this run"),
        ({"evaluator#inferer": "$@inferer.inferer"}, "The inferer of this run"),
        ({"inferer#calibration": "$@network_def.calibration"}, "takes 1|unexpected|not the model's own"),
        ({"dataset#transform": "$@preprocessing.with_parameters(margin_mm=12.0)"}, "margin_mm is 12.0 here"),
    ],
)
def test_a_part_that_belies_the_table_is_refused(infer, tmp_path, override, words):
    assert unknown_ids([str(CONFIGS / "inference.json")], list(override)) == {}
    with pytest.raises(Exception, match=".") as error:
        infer(**override)
    said = user_message(error.value) or str(error.value.__cause__ or error.value)
    assert re.search(words, said), said
    assert not list((tmp_path / "told").glob("*_mask.nii.gz"))


def test_free_choices_are_told(infer):
    chosen = {"rate": 0.2, "median_radius": 1, "min_component_ml": 0.5}
    out = infer(**chosen)
    (row,) = csv.DictReader((out / "results.csv").open(newline="", encoding="utf-8"))
    assert float(row["threshold_rate"]) == 0.2
    assert (row["median_radius"], row["min_component_ml"]) == ("1", "0.5")
    anomaly, mask = (nib.load(next(out.glob(f"*_{n}.nii.gz"))).get_fdata() for n in ("anomaly", "mask"))
    assert not mask[anomaly < -np.log10(0.2) - 1e-4].any()
