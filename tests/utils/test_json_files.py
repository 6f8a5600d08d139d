# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math

import pytest

from monai_cuas.utils import write_json


def test_what_is_no_number_becomes_null_at_any_depth(tmp_path):
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": None, "e": "NaN"})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, [None, {"c": None}]],
        "d": None,
        "e": "NaN",
    }
    assert text.endswith("}\n")


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
