# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import logging

import pytest

from monai_cuas.utils.progress import track


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("show", [True, False])
def test_a_log_gets_one_line(caplog, show):
    caplog.set_level(logging.INFO)
    file = io.StringIO()
    assert list(track(iter("abc"), "letters", total=3, show=show, file=file)) == ["a", "b", "c"]
    assert file.getvalue() == ""
    assert [r.getMessage() for r in caplog.records] == ["letters: 3 done in 00:00"] * show


@pytest.mark.parametrize("show", [True, False])
def test_a_terminal_gets_a_bar(caplog, show):
    caplog.set_level(logging.INFO)
    file = _Terminal()
    assert list(track("abc", "letters", show=show, file=file)) == ["a", "b", "c"]
    assert ("letters" in file.getvalue()) == show
    assert not caplog.records


def test_who_stops_early_hears_no_claim(caplog):
    caplog.set_level(logging.INFO)
    items = track("abc", "letters", file=io.StringIO())
    assert next(items) == "a"
    items.close()
    assert not caplog.records
