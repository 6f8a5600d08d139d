# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Whoever ships weights says what they know: each file has a card, of one shape, without a gap."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monai_cuas.recipe import read_recipe
from monai_cuas.shipped import shipped_weights

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "docs" / "models"
SHIPPED = shipped_weights()
ROWS = ("file", "method", "contrast", "data", "licence of the data", "licence of the weights", "for")
PARTS = ("Healthy rate on unseen normals", "Lesions", "What it misses", "How it was made")
# what a figure of a model has to stand beside
BESIDE = ("untrained", "smoothed", "median")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_have_a_card(name):
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert "FILL" not in card
    assert "Not shipped yet" not in card
    assert re.findall(r"^## (.+)$", card, flags=re.M) == list(PARTS)
    for row in ROWS:
        assert re.search(rf"^\| {row} \| \S", card, flags=re.M), f"no row '{row}'"
    lesions = card.split("## Lesions")[1].split("## ")[0]
    assert all(word in lesions for word in BESIDE)
    assert re.search(r"!\[.+\]\(.+\.png\)", card)
    assert f"({name}.md)" in (CARDS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "path"), SHIPPED.items())
def test_a_card_says_the_weights_own_settings(name, path):
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    weight = read_recipe(path).map_inferer["intensity_weight"]
    assert f"`--intensity_weight {weight:g}`" in card
    size = path.stat().st_size / 1e6
    assert f"`bundles/cuas/models/{path.name}`, {size:.1f} MB" in card


def test_other_cards_say_that_nothing_is_shipped():
    for card in CARDS.glob("*.md"):
        if card.stem not in (*SHIPPED, "README"):
            assert "**Not shipped yet.**" in card.read_text(encoding="utf-8")
