# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Whether a reader's label began as a mask of the server's: it is remembered which masks were given out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException

from .requests import refuse

__all__ = ["PROPOSAL_KEY", "check_origin", "keep_proposal", "proposal_of"]

logger = logging.getLogger(__name__)

PROPOSAL_KEY = "proposal"
"""Where the last mask that was given out is described, in the info of an image."""

_KEPT = ("threshold_rate", "min_component_ml", "median_radius", "method", "weights_sha256")
ORIGINS = ("manual", "proposal")


def check_origin(origin: Any) -> str | None:
    """
    Raises:
        HTTPException: 400 if a client says something else of a label's origin than it can.
    """
    if origin is not None and origin not in ORIGINS:
        raise refuse(400, f"origin must be one of {', '.join(ORIGINS)}: how the label came about.")
    return origin


def keep_proposal(datastore: Any, image: str, params: Mapping[str, Any]) -> None:
    """
    Remember that a mask was given out.

    Args:
        datastore: of the image.
        image: its id.
        params: what was said of the mask.
    """
    kept = {key: params[key] for key in _KEPT}
    try:
        if datastore.get_image_info(image).get(PROPOSAL_KEY) != kept:
            datastore.update_image_info(image, {PROPOSAL_KEY: kept})
    except OSError as error:
        # the reader gets the mask all the same
        logger.error("That a mask was given out could not be kept: %s.", error.strerror)
    except HTTPException:
        return  # the scan was removed meanwhile


def proposal_of(datastore: Any, image: str, origin: str | None) -> dict[str, Any] | None:
    """
    The mask that a label began as.

    Args:
        datastore: of the image.
        image: its id.
        origin: what the client says, see :func:`check_origin`; None: a label of an image of which a mask was given
            out counts as begun as that one.

    Returns:
        What was said of the mask; None for a label that was drawn by hand.
    """
    kept = None if origin == "manual" else datastore.get_image_info(image).get(PROPOSAL_KEY)
    return dict(kept) if isinstance(kept, dict) and kept.keys() >= set(_KEPT) else None
