# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights files: plain state dicts, written whole or not at all, and checked before they are used; what the CPU can."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..utils import ScanError, replacing

__all__ = [
    "copy_state",
    "cpu_state",
    "has_fast_bfloat16",
    "load_weights",
    "read_tensors",
    "require_state",
    "save_weights",
    "write_tensors",
]


def has_fast_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 itself; False also with a PyTorch that does not tell (before 2.10)."""
    tell: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return any(tell().get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def cpu_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """State dict on the CPU; of the network within, if it is wrapped for distributed training."""
    return {key: value.detach().cpu() for key, value in getattr(network, "module", network).state_dict().items()}


def save_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Write the state dict of ``network`` (unwrapped, on the CPU) to ``path`` in one step."""
    write_tensors(cpu_state(network), path)


def write_tensors(document: Any, path: str | os.PathLike) -> None:
    """
    Write tensors and plain data by ``torch.save`` in one step; the same content gives the same bytes.

    Args:
        document: what :func:`read_tensors` gives back.
        path: the file, replaced.
    """
    # by a stream: with a path torch puts its name, which is a temporary one here, into the archive
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(document, file)


def read_tensors(path: str | os.PathLike) -> tuple[Any, str]:
    """
    Read what ``torch.save`` wrote; nothing of it is executed (``weights_only=True``).

    Returns:
        The content, on the CPU, and the SHA-256 of just these bytes, 64 hexadecimal digits.

    Raises:
        ScanError: if the file is missing or broken, or holds more than tensors and plain data.
    """
    if not os.path.isfile(path):
        raise ScanError(path, "there is no such weights file", "train first or give --ckpt_path")
    try:
        content = Path(path).read_bytes()
        _require_stored(content)
        document = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ScanError(path, "this is no readable weights file", "copy it again or train anew") from error
    return document, hashlib.sha256(content).hexdigest()


def _require_stored(content: bytes) -> None:
    """
    Refuse an archive that is larger than its bytes, as torch stores without compression and a bomb does not, and one
    whose checksums are wrong, which torch does not look at.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(content):
            raise ValueError("the archive unpacks to more than it is")
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"{broken} is damaged")


def load_weights(network: nn.Module, path: str | os.PathLike) -> nn.Module:
    """
    Load a state dict, plain or under the key "model", with ``weights_only=True``.

    Returns:
        The network.

    Raises:
        ScanError: if the file is missing, broken, or does not fit the network; one sentence says which.
    """
    state, _ = read_tensors(path)
    return copy_state(network, state.get("model", state) if isinstance(state, dict) else state, path)


def copy_state(network: nn.Module, state: Any, path: str | os.PathLike) -> nn.Module:
    """
    Give a network the weights of a file.

    Args:
        network: changed in place.
        state: a state dict.
        path: the file, for messages.

    Returns:
        The network.

    Raises:
        ScanError: if the weights do not fit the network or are not finite.
    """
    require_fit(network, state, path)
    require_state(network, state, path)
    network.load_state_dict({**network.state_dict(), **state})
    return network


def require_fit(network: nn.Module, state: Any, path: str | os.PathLike) -> None:
    """
    Check that a state dict is a network's, by names and shapes; the network may be one on the device "meta".

    Raises:
        ScanError: if it is no state dict, or another network's, or a tensor claims more numbers than it holds.
    """
    tensors = isinstance(state, Mapping) and all(isinstance(value, torch.Tensor) for value in state.values())
    if not tensors or not all(isinstance(key, str) for key in state):
        raise ScanError(path, "this file holds no state dict of tensors", "give the model.pt that training wrote")
    own = network.state_dict()
    # what later versions added may be missing, and stays not set
    other = sorted((state.keys() ^ own.keys()) - _later(network))
    wrong = other or [k for k in state if not _fits(own[k], state[k])]
    if wrong:
        raise ScanError(
            path,
            f"the weights do not fit the network ({len(wrong)} entries differ, such as {wrong[0]})",
            "use weights of the same network, or train anew",
        )


def _fits(own: torch.Tensor, given: torch.Tensor) -> bool:
    alike = own.shape == given.shape and own.is_complex() == given.is_complex()
    if not alike or given.layout != torch.strided or given.device.type != "cpu":
        return False
    # one number may be stretched over any shape, and would fill the memory where it is copied
    return given.numel() * given.element_size() <= given.untyped_storage().nbytes()


def _later(network: nn.Module) -> set[str]:
    """Names of buffers that weights of an earlier version do not have."""
    return {f"{at}.{name}" for at, part in network.named_modules() for name in getattr(part, "later_buffers", ())}


def fitted_places(network: nn.Module) -> tuple[str, ...]:
    """How the names begin of what is fitted to scans after training, or before it, and not learnt: NaN until it is."""
    return tuple(f"{place}." for place, module in network.named_modules() if getattr(module, "nan_is_unset", False))


def require_state(network: nn.Module, state: Mapping[str, torch.Tensor], path: str | os.PathLike) -> None:
    """
    Check that weights are numbers; NaN is allowed in buffers of modules in which it stands for "not set".

    Raises:
        ScanError: naming the first entry that is not finite.
    """
    places = fitted_places(network)
    for key, value in state.items():
        bad = value.isinf() if key.startswith(places) else ~value.isfinite()
        if value.is_floating_point() and bool(bad.any()):
            raise ScanError(path, f"its weights are not finite numbers ({key})", "copy it again or train anew")
