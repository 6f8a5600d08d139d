# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The pages of the methods say what their configs have."""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from .conftest import method_files

PAGES = Path(__file__).parents[2] / "docs" / "methods"


def _settings(page: Path) -> list[tuple[str, str]]:
    """Ids and values of a page's table of settings; a cell that says where something lies is left out."""
    section = re.search(r"^## Settings\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    rows = [line.split("|") for line in section.group(1).splitlines() if line.startswith("| `")] if section else []
    pairs = []
    for _, names, value, *_ in rows:
        if " in `" not in names:
            ids = [name for part in re.findall(r"`([^`]+)`", names) for name in part.split(", ")]
            pairs += [(name, value.split(",")[k] if len(ids) > 1 else value) for k, name in enumerate(ids)]
    return pairs


def _takes(target: str, argument: str) -> bool:
    """Whether a class or one of its bases has an argument of this name."""
    classes = inspect.getmro(pydoc.locate(target))
    return any(argument in inspect.signature(c.__init__).parameters for c in classes if c is not object)


@pytest.mark.parametrize("page", sorted(p.stem for p in PAGES.glob("*.md") if _settings(p)))
def test_a_page_names_settings_that_there_are_with_the_values_they_have(page):
    config = ConfigParser()
    config.read_config(method_files("anomalib/anomalib_padim" if page == "anomalib" else page))
    for name, value in _settings(PAGES / f"{page}.md"):
        head, *rest = name.split("#")
        assert head in config, f"there is no id {head}"
        found = config[head]
        for key in rest:
            assert key in found or _takes(found["_target_"], key), f"{head} has no {key}"
            found = found.get(key)
        number = re.match(r"\s*(-?[\d.]+(e-?\d+)?)(?=[\s,]*(\||$))", value)
        if number and isinstance(found, (int, float)):
            assert float(number.group(1)) == found, f"{name} is {found}"
