# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Fine-tuning: a training that starts from a model in place of random weights."""

from __future__ import annotations

import os

from torch import nn

from ..networks.utils import fitted_places
from ..recipe import describe_network, read_model
from ..shipped import weights_path
from ..utils import CUASError, file_digest

__all__ = ["start_digest", "start_weights"]


def start_digest(model: str | os.PathLike | None = None) -> str | None:
    """SHA-256 of the model that a training starts from, for its checkpoints; None without one."""
    return None if model is None else file_digest(weights_path(model))


def start_weights(network: nn.Module, model: str | os.PathLike | None = None) -> None:
    """
    Give a network that is about to be trained the weights of a model.

    What is fitted to scans, and not learnt, is not taken: intensity landmarks, level and thresholds are the new scans'.

    Args:
        network: changed in place.
        model: a weights file, or the name of a shipped one; None: the network stays as it is.

    Raises:
        CUASError: if the file cannot be used, or its network is another one.
    """
    if model is None:
        return
    path = weights_path(model)
    start = read_model(path)
    own, other = describe_network(network), start.recipe.network
    different = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
    if different:
        said = ", ".join(f"{key} {own.get(key)!r} (there {other.get(key)!r})" for key in different)
        raise CUASError(f"{path}: the training cannot start from this model, its network is another one: {said}.")
    places = fitted_places(network)
    learnt = {key: value for key, value in start.network.state_dict().items() if not key.startswith(places)}
    network.load_state_dict(learnt, strict=False)
