# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_cuas.engines.schedule import optimizer_steps, training_epochs, validation_interval
from monai_cuas.utils import CUASError


@pytest.mark.parametrize("batches", [1, 7, 19, 330, 3999, 4000, 100000])
def test_enough_steps_and_a_validation_behind_the_last_epoch(batches):
    epochs = training_epochs(4000, batches)
    assert epochs * batches >= 4000
    interval = validation_interval(epochs)
    assert epochs % interval == 0
    assert epochs // interval <= 24
    # no more than rounding asks for
    assert (epochs - interval) * batches < 4000


def test_short_trainings_validate_every_epoch_and_primes_too():
    assert [validation_interval(n) for n in (1, 6, 24, 31, 211)] == [1] * 5
    assert validation_interval(300) == 12


@pytest.mark.parametrize("arguments", [(0, 5), (5, 0)])
def test_nothing_to_do_is_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        training_epochs(*arguments)


def test_an_epoch_without_a_batch_is_no_training():
    assert optimizer_steps(6, 5) == 30
    with pytest.raises(CUASError, match="no whole batch"):
        optimizer_steps(6, 0)
