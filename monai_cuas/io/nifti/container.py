# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Bytes of a file, compressed or not whatever its name says, with the checksum read to the end."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

__all__ = ["DamagedFileError", "Payload", "is_compressed", "read_bytes"]

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


class DamagedFileError(ValueError):
    """Bytes that cannot be trusted; the text says why, without a full stop."""


class Payload(NamedTuple):
    """
    Args:
        data: what was asked for.
        surplus: number of bytes that lie behind it; counted up to the limit that was given.
    """

    data: bytes
    surplus: int


def is_compressed(path: str | os.PathLike) -> bool:
    """By its first bytes: exporters name plain files .gz and the reverse."""
    with open(path, "rb") as file:
        return file.read(2) == _GZIP


def read_bytes(path: str | os.PathLike, length: Callable[[bytes], int], head: int, most_surplus: int) -> Payload:
    """
    Read the first bytes of a file, and the rest to its end, as gzip's checksum comes last.

    Args:
        path: regular file.
        length: from the first ``head`` bytes (or fewer), how many are wanted in all.
        head: number of bytes that ``length`` needs.
        most_surplus: stop counting what lies behind them here.

    Raises:
        DamagedFileError: if the file ends early, or its checksum is wrong.
    """
    opener: Any = gzip.open if is_compressed(path) else open
    with opener(path, "rb") as file:
        try:
            return _read(file, length, head, most_surplus)
        except EOFError:
            raise DamagedFileError("its compressed data end early: the file is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            wrong = "checksum" if "CRC" in str(error) or "Incorrect length" in str(error) else "compressed data"
            raise DamagedFileError(
                f"its {wrong} is wrong: the file is damaged".replace("data is", "data are")
            ) from None


def _read(file: IO[bytes], length: Callable[[bytes], int], head: int, most_surplus: int) -> Payload:
    first = file.read(head)
    wanted = length(first)
    data = first + file.read(max(0, wanted - len(first))) if wanted > len(first) else first
    if len(data) < wanted:
        raise DamagedFileError(f"it holds {len(data)} bytes where its header asks for {wanted}: the file is truncated")
    surplus = len(data) - wanted
    while surplus <= most_surplus:
        more = len(file.read(_CHUNK))
        surplus += more
        if not more:
            break
    return Payload(data, surplus)


def companion(path: str | os.PathLike, suffixes: tuple[str, ...]) -> Path | None:
    """The file of the same stem with one of other suffixes, such as .img for .hdr."""
    name = os.fspath(path)
    stem = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    stem = os.path.splitext(stem)[0]
    names = [stem + suffix for base in suffixes for suffix in (base, base.upper())]
    return next((Path(n) for n in names if os.path.isfile(n)), None)
