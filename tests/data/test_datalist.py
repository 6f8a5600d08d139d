# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from monai_cuas.data.datalist import load_datalist
from monai_cuas.utils import CUASError


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"training": [{"image": "a.nii.gz"}], "validation": []}, r"it has training \(1\)\.$"),
        ({"name": "x"}, r"it has no scan\.$"),
    ],
)
def test_a_list_that_is_missing_is_named_with_those_that_are_there(tmp_path, lists, said):
    (tmp_path / "dataset.json").write_text(json.dumps(lists))
    with pytest.raises(CUASError, match=f"the list 'validation' is missing or empty, and is needed here; {said}"):
        load_datalist(tmp_path / "dataset.json", "validation")
    assert load_datalist(tmp_path / "dataset.json", "validation", allow_empty=True) == []
