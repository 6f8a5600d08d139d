# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A request may say what its route knows, and nothing else reaches what runs."""

from __future__ import annotations

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException

from monai_cuas.label.parameters import PARAMETERS, checked


@pytest.mark.parametrize("route", PARAMETERS)
@pytest.mark.parametrize(
    "name", ["bundle_path", "PYTHONPATH", "config", "train_overlay", "image", "folder", "", "a\nb"]
)
def test_what_a_route_does_not_know_is_refused(route, name):
    with pytest.raises(HTTPException) as error:
        checked(route, {name: "/tmp/planted"})
    assert error.value.status_code == 400
    assert "is not taken here" in error.value.detail
    assert "\n" not in error.value.detail


@pytest.mark.parametrize(
    ("route", "name", "value"),
    [
        *[("infer", "rate", value) for value in (0, 1, -1, "x", True, None, [], 1e400, float("nan"), "1e999", 10**400)],
        *[("infer", "min_component_ml", value) for value in (-1, 1e9, "much", {})],
        *[("infer", "save_label", value) for value in (1, "true", None)],
        *[("infer", "label_tag", value) for value in ("final", "../x", 3, None, "A", "x" * 99)],
        *[("infer", "result_extension", value) for value in (".exe", 1, None, [".nii"])],
        ("infer", "label_info", "x" * 20_000),
        ("infer", "label_info", [{"name": "x" * 20_000}]),
        *[("batch", "images", value) for value in ("some", {}, ["../x"], [1], None)],
        *[("batch", "max_batch_size", value) for value in (-1, 1.5, "3", True)],
        *[("train", "max_epochs", value) for value in (0, 10_001, 2.5, "5", True, [])],
        *[("next", "seconds", value) for value in (-1, 1e9, "long", [])],
        *[("next", "client_id", value) for value in (3, "x" * 500, "a\nb")],
    ],
)
def test_wrong_types_and_what_is_out_of_bounds(route, name, value):
    with pytest.raises(HTTPException) as error:
        checked(route, {name: value})
    assert error.value.status_code == 400
    assert name in error.value.detail or "tag" in error.value.detail or "id" in error.value.detail


def test_what_is_right_passes_and_what_clients_send_of_their_own_is_dropped():
    sent = {"rate": "0.05", "save_label": True, "label_tag": "second", "device": "cuda", "logging": "WARNING"}
    assert checked("infer", sent) == {"rate": 0.05, "save_label": True, "label_tag": "second"}
    assert checked("batch", {"images": ["a", "b"], "max_workers": 1}) == {"images": ["a", "b"]}
    assert checked("next", {"seconds": 5, "client_id": "reader@x.org"}) == {"seconds": 5.0, "client_id": "reader@x.org"}
    assert checked("train", None) == {}
    with pytest.raises(HTTPException):
        checked("train", [1])
