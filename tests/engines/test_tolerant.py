# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable

import torch
from ignite.engine import Events
from monai.data import MetaTensor

from monai_cuas.engines import TolerantEvaluator
from monai_cuas.utils import note, notes_of


def _batch(k: int) -> dict:
    return {"image": MetaTensor(torch.full((1, 1, 4, 4), float(k)), meta={"filename_or_obj": [f"{k}.nii.gz"]})}


def _run(infer: Callable, see: Callable, failed: list[tuple[str, str]] | None = None) -> None:
    """Three scans through the evaluator; ``see`` is told the engine after each."""

    class Seen:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, see)

    TolerantEvaluator(
        device="cpu",
        val_data_loader=[_batch(k) for k in range(3)],
        network=torch.nn.Identity(),
        inferer=infer,
        val_handlers=[Seen()],
        failed=failed,
    ).run()


def test_a_map_that_cannot_be_made_leaves_out_that_scan():
    seen: list[int] = []
    failed: list[tuple[str, str]] = []

    def infer(inputs, network):
        if inputs.max() == 1:
            raise RuntimeError("out of whatever")
        return inputs

    _run(infer, lambda engine: seen.append(len(engine.state.output)), failed)
    assert seen == [1, 0, 1]
    assert [file for file, _ in failed] == ["1.nii.gz"]


def test_what_is_said_while_a_map_is_made_stands_in_the_notes_of_that_scan_alone():
    seen: list[list[str]] = []

    def infer(inputs, network):
        if inputs.max() == 1:
            note("doubtful")
        return inputs

    def see(engine):
        seen.extend(notes_of(item["image"].meta) for item in (*engine.state.batch, *engine.state.output))

    _run(infer, see)
    assert seen == [[], [], ["doubtful"], ["doubtful"], [], []]
