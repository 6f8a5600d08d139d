# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import logging

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_cuas.handlers import ScanProgress


def _batch(name: str) -> list[dict]:
    return [{"image": MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": f"/data/Jane_Doe/{name}"})}]


def _run(batches, step=lambda engine, batch: None, n=3, **how) -> str:
    stream = io.StringIO()
    engine = Engine(step)
    ScanProgress([{}] * n, file=stream, mininterval=0, ncols=100, **how).attach(engine)
    engine.run(batches)
    return stream.getvalue()


def test_name_count_and_time_left_without_the_folder():
    """Of three scans one could not be read, and one was left out in its iteration: the bar ends full."""
    shown = _run([_batch("a.nii.gz"), []], disable=False)
    assert "a.nii.gz" in shown
    assert "Jane_Doe" not in shown
    assert "1/3 [00:00<" in shown  # what is behind the sign is the time left
    assert "3/3" in shown.split("\r")[-1]


def test_no_bar_where_nobody_watches():
    assert _run([_batch("a.nii.gz")], n=1) == ""


def test_an_error_goes_on_and_the_log_is_given_back():
    def step(engine, batch):
        raise RuntimeError("broken")

    before = list(logging.getLogger().handlers)
    with pytest.raises(RuntimeError, match="broken"):
        _run([_batch("a.nii.gz")], step, disable=False)
    assert logging.getLogger().handlers == before
