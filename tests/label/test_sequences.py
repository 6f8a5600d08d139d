# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which scans a model of several sequences takes, by ids, by study, and of one scan its study's others."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas import load_model

from ..bundle.conftest import write_untrained
from . import scans
from .test_app import bright_bundle, refused, serve, volume
from .test_models import named


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    """A model of FLAIR and T1; one subject has both, another has no T1."""
    studies, bundle = tmp_path / "studies", bright_bundle(tmp_path / "bundle")
    studies.mkdir()
    for name, seed in (("sub-1_FLAIR", 0), ("sub-1_T1w", 1), ("sub-2_FLAIR", 2), ("a", 3), ("b", 4)):
        scans.save(studies / f"{name}.nii.gz", scans.brain(seed))
    small = {"image_size": 48, "channels": [4, 8], "layers": [1, 1], "in_channels": 2}
    both = write_untrained(bundle / "models" / "model_both.pt", "amcons", **small)
    named(both, "FLAIR", "T1")
    with serve(monkeypatch, tmp_path, studies, bundle) as client:
        yield client, both, studies


def infer(client, query: str, output: str = "json", model: str = "both"):
    form = {"params": json.dumps({"rate": 0.3})}
    return client.post(f"/infer/{model}?{query}&output={output}", data=form)


@pytest.mark.parametrize(
    "query", ["images=sub-1_FLAIR&images=sub-1_T1w", "images=sub-1_T1w&images=sub-1_FLAIR", "study=sub-1"]
)
def test_each_scan_comes_to_its_place(hospital, tmp_path, query):
    client, both, studies = hospital
    expected = load_model(both).find([str(studies / f"sub-1_{name}.nii.gz") for name in ("FLAIR", "T1w")], 0.3)
    np.testing.assert_array_equal(volume(infer(client, query, "image"), tmp_path), expected.mask)
    assert infer(client, query).json()["images"] == ["sub-1_FLAIR", "sub-1_T1w"]


def test_of_one_scan_the_others_of_its_study_are_taken(hospital):
    client, _, _ = hospital
    assert infer(client, "image=sub-1_FLAIR").json()["images"] == ["sub-1_FLAIR", "sub-1_T1w"]
    assert "ask for sub-1_FLAIR" in refused(infer(client, "image=sub-1_T1w"), 422)


def test_what_does_not_fit_is_refused(hospital):
    client, _, _ = hospital
    assert "no scan of the study is known to be T1" in refused(infer(client, "image=sub-2_FLAIR"), 422)
    assert "2 sequences" in refused(infer(client, "images=sub-1_FLAIR&images=sub-1_T1w&images=a"), 422)
    refused(infer(client, "images=a&images=a"), 400)
    refused(infer(client, "image=a&study=sub-1"), 400)
    refused(infer(client, "study=nobody"), 404)
    (note,) = [n for n in infer(client, "images=a&images=b").json()["notes"] if "as named" in n]
    assert "FLAIR, T1" in note
