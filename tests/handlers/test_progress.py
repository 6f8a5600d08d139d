# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io

import pytest
from ignite.engine import Engine

from monai_cuas.handlers import EpochProgressBar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_one_step_an_epoch_on_terminals_alone(terminal):
    file = _Terminal() if terminal else io.StringIO()
    engine = Engine(lambda engine, batch: {"loss": 0.25})
    EpochProgressBar(file=file).attach(engine)
    engine.run([0, 1, 2], max_epochs=4)
    shown = file.getvalue()
    assert bool(shown) == terminal
    if terminal:
        assert "[4/4] 100%" in shown
        assert "loss=0.25" in shown
