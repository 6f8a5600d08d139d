# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The folder of models: each weights file in it is a model of the server, from the moment that it lies there."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ..shipped import shipped_weights
from ..utils import CUASError
from .model import LoadedModel, ServedModel, stamp_of
from .requests import sentence

__all__ = ["FileModel", "ModelShelf"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ADVICE = "call it model_NAME.pt, NAME of letters, digits, '_' and '-'"


class FileModel(LoadedModel):
    """
    A weights file of the folder.

    Args:
        served: whose options are the defaults.
        path: the file.
    """

    def __init__(self, served: ServedModel, path: Path) -> None:
        super().__init__(served.metadata, served.defaults)
        self.path = path

    def weights(self) -> Path:
        return self.path


class ModelShelf:
    """
    Weights files of the bundle's ``models``, looked at anew by each request: what is added, replaced or removed needs
    no restart.

    Args:
        served: the bundle's model, which may be one of them.
        taken: names that a file cannot have.
    """

    def __init__(self, served: ServedModel, taken: Collection[str]) -> None:
        self.served, self.taken = served, frozenset(taken)
        self._judged: dict[Path, tuple[tuple[int, ...], FileModel | str]] = {}

    def models(self) -> dict[str, FileModel]:
        """Those that can be used, by name."""
        return {name: found for name, found in self._look().items() if isinstance(found, FileModel)}

    def left_out(self) -> dict[str, str]:
        """Files that cannot be used, each with the reason."""
        files = shipped_weights(self.served.bundle)
        reasons = {files[name].name: found for name, found in self._look().items() if isinstance(found, str)}
        used = {path.name for path in files.values()}
        others = [path.name for path in (self.served.bundle / "models").glob("*.pt") if path.name not in used]
        return {**reasons, **dict.fromkeys(sorted(others), f"its name tells no model; {_ADVICE}")}

    def _look(self) -> dict[str, FileModel | str]:
        files = shipped_weights(self.served.bundle)
        self._judged = {path: judged for path, judged in self._judged.items() if path in files.values()}
        return {name: self._judge(name, path) for name, path in files.items()}

    def _judge(self, name: str, path: Path) -> FileModel | str:
        stamp = stamp_of(path)
        known = self._judged.get(path)
        if known is None or known[0] != stamp:
            known = self._judged[path] = (stamp, self._read(name, path))
        return known[1]

    def _read(self, name: str, path: Path) -> FileModel | str:
        if not _NAME.fullmatch(name):
            return f"its name tells no model; {_ADVICE}"
        if name in self.taken:
            return f"the name '{name}' is the server's own; {_ADVICE}"
        if not path.is_file():
            return "it is no file, or a link that leads nowhere"
        made = FileModel(self.served, path)
        try:
            made.digest  # noqa: B018 - reads the file
        except CUASError as error:
            return sentence(error, path.name).removeprefix(f"{path.name}: ").rstrip(".")
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        return made
