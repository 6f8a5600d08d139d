# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which scan to read next, and the scores that decide it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from ..utils import CUASError
from .datastore import INFO_KEY
from .infer import MODEL
from .line import heavy
from .model import ServedModel
from .requests import InferOptions, check_size, sentence
from .sequences import Wanted

__all__ = ["MostAnomalousFirst", "ScanScoring", "keep_score", "score_image"]

logger = logging.getLogger(__name__)


def score_image(model: ServedModel, datastore: Any, image: str) -> dict[str, Any]:
    """
    Score of one scan, kept in the info of the image and made anew after a change of weights.

    Returns:
        "score" and "weights"; or "failed", a sentence, with the weights that it was tried with.

    Raises:
        HTTPException: 429 if the server has too much to do; that is no fault of the scan's, and nothing is kept.
    """
    weights = model.model().digest
    kept = _kept(datastore, image)
    if kept.get("weights") == weights:
        return kept
    with heavy.turn():
        kept = {**_scored(model, datastore, image), "weights": weights}
    # A series that could not even be fetched has no place for it.
    if image in datastore.json()["objects"]:
        keep_score(datastore, image, kept)
    return kept


def _scored(model: ServedModel, datastore: Any, image: str) -> dict[str, Any]:
    """ "score" of a scan, or "failed" with a sentence on what is wrong with it."""
    try:
        path = datastore.get_image_uri(image)
        check_size(path)
        finding = model.find(path, InferOptions(rate=float(model.defaults.get("rate", 0.01))))
        return {"score": finding.summary["scan_score"]}
    except CUASError as error:
        return {"failed": sentence(error, image)}
    except HTTPException as error:
        return {"failed": str(error.detail)}
    except Exception as error:
        # one scan that nobody foresaw must not keep everybody from reading the others; its text may name a patient
        logger.error("%s while a scan was scored.", type(error).__name__)
        return {"failed": f"{image}: it cannot be scored ({type(error).__name__})."}


def _kept(datastore: Any, image: str) -> dict[str, Any]:
    """What is kept of a scan's score; nothing if it is of another form, or the scan is gone."""
    try:
        kept = datastore.get_image_info(image).get(INFO_KEY, {})
    except HTTPException:
        return {}
    number = isinstance(kept, dict) and isinstance(kept.get("score", 0.0), (int, float))
    return dict(kept) if number else {}


def keep_score(datastore: Any, image: str, kept: dict[str, Any]) -> None:
    """Put a score into the info of an image; on a full disk it is lost and made again, and the reader gets the mask."""
    try:
        if datastore.get_image_info(image).get(INFO_KEY) == kept:
            return
        datastore.update_image_info(image, {INFO_KEY: kept})
    except OSError as error:
        logger.error("A score could not be kept: %s.", error.strerror)
    except HTTPException:
        return  # the scan was removed meanwhile


class ScanScoring(ScoringMethod):
    """Score every scan of the datastore that has no score of the weights in use."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__("Anomaly score of every scan, for the strategy 'most_anomalous'")
        self.model = model

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Number of scans with a score, the sentences of those that have none, and the files that are left out."""
        found = {image: score_image(self.model, datastore, image) for image in datastore.list_images()}
        failed = {image: kept["failed"] for image, kept in found.items() if "failed" in kept}
        left_out: dict[str, str] = getattr(datastore, "left_out", dict)()
        return {"scored": len(found) - len(failed), "failed": failed, "left_out": left_out}


class MostAnomalousFirst(Strategy):
    """
    Offer the unread scan (without a final label) of the highest score.

    Scans without a score are scored first, as long as there is time. Scores of scans that are known to be of another
    contrast than the weights' do not compare with the others', so these scans come last.

    Args:
        model: the one that is served.
        seconds: time for scoring in one request; ``{"seconds": 5}`` in the request changes it.
        clock: for tests.
    """

    def __init__(self, model: ServedModel, seconds: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("The most anomalous scan that has no final label yet")
        self.model, self.seconds, self.clock = model, seconds, clock

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """The image's id and score, and how many unread scans have no score yet; None if there is nothing to read."""
        unread = sorted(datastore.get_unlabeled_images())
        weights = self.model.model().digest
        end = self.clock() + float(request.get("seconds", self.seconds))
        scores: dict[str, float] = {}
        waiting = 0
        for image in unread:
            kept = _kept(datastore, image)
            if kept.get("weights") != weights and self.clock() > end and scores:
                waiting += 1
                continue
            kept = score_image(self.model, datastore, image)
            if "score" in kept:
                scores[image] = float(kept["score"])
        if not scores:
            return None
        first = self._first(sorted(scores, key=lambda image: -scores[image]), datastore, end)
        return {"id": first, "score": scores[first], "not_scored_yet": waiting}

    def _first(self, ordered: list[str], datastore: Any, end: float) -> str:
        """The first scan of the model's contrast, or of one that nothing tells; without one, or the time, the first."""
        wanted = set(Wanted.of(self.model.recipe, MODEL).contrasts) - {None}
        for image in ordered if wanted else ():
            try:
                name = datastore.contrast(image).name
            except HTTPException:
                continue
            if name is None or name in wanted:
                return image
            if self.clock() > end:
                break
        return ordered[0]
