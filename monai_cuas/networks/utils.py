# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights files: plain state dicts, written whole or not at all, and checked before they are used; what the CPU can."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..utils import ScanError, replacing

__all__ = ["encode_text", "has_fast_bfloat16", "load_weights", "save_weights"]

_TEXT_LENGTH = 64


def has_fast_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 itself; False also with a PyTorch that does not tell (before 2.10)."""
    tell: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return any(tell().get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def encode_text(text: str) -> torch.Tensor:
    """
    Text as a tensor, so that a network can keep it in its weights, which hold tensors alone.

    Args:
        text: ASCII, such as the name of the map that the network gives.

    Returns:
        (64,) uint8, padded with zeros.

    Raises:
        ValueError: if the text is longer or not ASCII.
    """
    code = text.encode("ascii") if text.isascii() else b""
    if not 0 < len(code) <= _TEXT_LENGTH:
        raise ValueError(f"the text must be 1 to {_TEXT_LENGTH} ASCII characters, got {text!r}.")
    return torch.tensor(list(code.ljust(_TEXT_LENGTH, b"\0")), dtype=torch.uint8)


def _decode_text(code: torch.Tensor) -> str:
    return bytes(code.tolist()).rstrip(b"\0").decode("ascii", "replace")


def _optional(network: nn.Module) -> set[str]:
    """Entries that older weights files lack; the modules that have them name them."""
    modules = network.named_modules()
    return {f"{place}.{name}" for place, module in modules for name in getattr(module, "optional_buffers", ())}


def save_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Write the state dict of ``network`` (unwrapped, on the CPU) to ``path`` in one step."""
    state = getattr(network, "module", network).state_dict()
    with replacing(path) as temporary:
        torch.save({key: value.detach().cpu() for key, value in state.items()}, temporary)


def load_weights(network: nn.Module, path: str | os.PathLike) -> nn.Module:
    """
    Load a state dict, plain or under the key "model" or "network", with ``weights_only=True``.

    Buffers that a module names in ``optional_buffers`` may be missing, as they are in files of earlier versions.

    Returns:
        The network.

    Raises:
        ScanError: if the file is missing, broken, or does not fit the network; one sentence says which.
    """
    if not os.path.isfile(path):
        raise ScanError(path, "there is no such weights file", "train first or give --ckpt_path")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ScanError(path, "this is no readable weights file", "copy it again or train anew") from error
    for key in ("model", "network"):
        state = state.get(key, state) if isinstance(state, dict) else state
    own = network.state_dict()
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ScanError(path, "this file holds no state dict of tensors", "give the model.pt that training wrote")
    unknown, missing = state.keys() - own.keys(), own.keys() - state.keys() - _optional(network)
    wrong = sorted(unknown | missing) or [k for k in own if k in state and own[k].shape != state[k].shape]
    if "image_size" in own and "image_size" in state and not torch.equal(own["image_size"].cpu(), state["image_size"]):
        size, asked = int(state["image_size"][0]), int(own["image_size"][0])
        raise ScanError(path, f"trained at image_size {size}, the config says {asked}", f"pass --image_size {size}")
    if "map_name" in own and "map_name" in state and not torch.equal(own["map_name"].cpu(), state["map_name"]):
        made, wanted = _decode_text(state["map_name"]), _decode_text(own["map_name"])
        raise ScanError(
            path,
            f"trained and calibrated for the map '{made}', the config asks for '{wanted}'",
            "use the settings of its training (settings.json of the run)",
        )
    if wrong:
        raise ScanError(
            path,
            f"the weights do not fit the config's network ({len(wrong)} entries differ, such as {wrong[0]})",
            "use the settings of its training (settings.json of the run, after inference.json)",
        )
    network.load_state_dict(state)
    return network
