# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from monai_cuas.data.splits import PARTS, load_split, part_sizes, save_split, split_subjects
from monai_cuas.utils import CUASError

SHARES = (0.55, 0.2, 0.1, 0.15)


@pytest.mark.parametrize(
    ("n", "shares", "expected"),
    [
        (72, SHARES, [40, 14, 7, 11]),  # 39.6, 14.4, 7.2, 10.8: the two left over go to .8 and .6
        (10, (0.5, 0.5), [5, 5]),
        (4, (0.9, 0.04, 0.03, 0.03), [1, 1, 1, 1]),
        (335, (271, 32, 32), [271, 32, 32]),
        (5, (1.0, 0.0), [5, 0]),
        (0, (0.5, 0.5), [0, 0]),
    ],
)
def test_part_sizes(n, shares, expected):
    assert part_sizes(n, shares) == expected


@pytest.mark.parametrize("shares", [(0.5, 0.6), (-0.5, 1.5), (), (300, 50), (float("nan"), 1)])
def test_part_sizes_that_do_not_fit(shares):
    with pytest.raises(CUASError):
        part_sizes(335, shares)


def test_split_depends_on_names_and_seed_only():
    names = [f"s{i:02d}" for i in range(40)]
    split = split_subjects(names, SHARES, seed=3)
    assert split == split_subjects([*reversed(names), "s01"], SHARES, seed=3)
    assert split != split_subjects(names, SHARES, seed=4)
    assert sorted(name for part in split.values() for name in part) == names
    assert tuple(split) == PARTS


def test_split_wants_a_share_per_part():
    with pytest.raises(CUASError, match="2 shares"):
        split_subjects(["a"], (0.5, 0.5))


def test_split_file_is_read_back(tmp_path):
    split = split_subjects("abcdefgh", SHARES)
    save_split(split, tmp_path / "split.json", seed=0)
    assert load_split(tmp_path / "split.json") == split
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"subjects": 3}', "{}"])
def test_a_file_that_is_no_split(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(CUASError, match="not a split file"):
        load_split(tmp_path / "split.json")


def test_a_subject_in_two_parts_is_refused(tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"subjects": {"training": ["a"], "validation": ["a"]}}))
    with pytest.raises(CUASError, match="both training and validation"):
        load_split(tmp_path / "split.json")
