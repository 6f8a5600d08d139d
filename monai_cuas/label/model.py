# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The models that are served: the one whose weights a small file points to, and each weights file of a folder."""

from __future__ import annotations

import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

from ..pipeline import Finding, Model
from ..recipe import Recipe
from ..utils import CUASError, write_json
from .requests import InferOptions

__all__ = ["Finding", "LoadedModel", "ServedModel", "stamp_of"]

# networks that are kept in memory; of others the file is read again
_KEPT = 8
# memory is for one scan, whichever model it is for
_ONE = threading.Lock()


class _Described(NamedTuple):
    stamp: tuple
    digest: str
    recipe: Recipe


def stamp_of(path: str | os.PathLike) -> tuple[int, ...]:
    """What changes when a file does, or another one takes its place; nothing if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=_KEPT)
def _loaded(path: str, stamp: tuple) -> Model:
    return Model(path)


class LoadedModel(ABC):
    """
    Weights that are read again when their file has changed.

    Attributes:
        metadata: of the bundle.
        defaults: options of a request that does not say them.
    """

    def __init__(self, metadata: dict[str, Any], defaults: dict[str, Any]) -> None:
        self.metadata, self.defaults = metadata, defaults
        self._described: _Described | None = None

    @abstractmethod
    def weights(self) -> Path:
        """The weights in use."""

    def model(self) -> Model:
        """
        The model in use.

        Raises:
            CUASError: if its file cannot be used.
        """
        path = self.weights()
        return _loaded(str(path), stamp_of(path))

    def _description(self) -> _Described:
        stamp = (str(self.weights()), stamp_of(self.weights()))
        if self._described is None or self._described.stamp != stamp:
            model = self.model()
            self._described = _Described(stamp, model.digest, model.recipe)
        return self._described

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of the weights in use."""
        return self._description().digest

    @property
    def recipe(self) -> Recipe:
        """What the weights in use say of themselves."""
        return self._description().recipe

    def find(self, image: str | Sequence[str], options: InferOptions) -> Finding:
        """
        Map and mask of one scan; one at a time, as memory is for one.

        Args:
            image: path, or DICOM series as ``FOLDER::SeriesInstanceUID``; for a model of several sequences their
                paths, in the order of its recipe.
            options: see :class:`InferOptions`.

        Raises:
            CUASError: if the scan cannot be used, or the rate is beyond the calibration.
        """
        with _ONE:
            model = self.model()
            finding = model.find(image, options.asked_rate, min_component_ml=options.min_component_ml)
            return replace(finding, summary={**finding.summary, "weights_sha256": model.sha256})


class ServedModel(LoadedModel):
    """
    A bundle's folder, its inference config and the weights in use.

    ``served.json`` in the folder names the weights; without it they are ``models/model.pt``. It is read at each
    request, so that new weights are in use as soon as it is replaced, by another process too.

    Args:
        bundle: folder with ``configs`` and ``models``.

    Raises:
        CUASError: if the bundle or its weights cannot be used. Weights that do not fit are refused, never passed over.
    """

    def __init__(self, bundle: str | os.PathLike) -> None:
        self.bundle = Path(bundle)
        if not (self.bundle / "configs" / "inference.json").is_file():
            raise CUASError(f"{self.bundle}: there is no bundle here; make the app with 'monai_cuas label-app'.")
        config = ConfigParser.load_config_files([str(self.bundle / "configs" / "inference.json")])
        metadata = json.loads((self.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        super().__init__(metadata, dict(ConfigParser(config).get_parsed_content("displayable_configs")))
        self.model()

    @property
    def pointer(self) -> Path:
        return self.bundle / "served.json"

    def weights(self) -> Path:
        """The weights in use."""
        if not self.pointer.is_file():
            return self.bundle / "models" / "model.pt"
        return self.bundle / json.loads(self.pointer.read_text(encoding="utf-8"))["weights"]

    def serve(self, weights: str | os.PathLike) -> None:
        """Use other weights, below the bundle's folder, from the next request on; the old file stays."""
        relative = Path(weights).resolve().relative_to(self.bundle.resolve())
        before = str(self.weights().resolve().relative_to(self.bundle.resolve()))
        write_json(self.pointer, {"weights": str(relative), "before": before})
