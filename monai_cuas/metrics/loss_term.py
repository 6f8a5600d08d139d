# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One of the terms of a loss, as a metric of its own."""

from __future__ import annotations

from typing import Any

from ignite.metrics import Loss
from monai.handlers import from_engine

__all__ = ["LossTerm"]


class LossTerm(Loss):
    """
    Ignite's ``Loss`` for one term of a loss that has several.

    Args:
        loss: has ``terms(pred, label)``, which gives the terms by name.
        term: name of the term.
    """

    def __init__(self, loss: Any, term: str) -> None:
        self.loss, self.term = loss, term
        super().__init__(self._value, output_transform=from_engine(["pred", "label"]))

    def _value(self, pred: Any, label: Any) -> Any:
        return self.loss.terms(pred, label)[self.term]
