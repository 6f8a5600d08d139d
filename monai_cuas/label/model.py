# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The model that is served: the bundle's own config, and the weights that a small file points to."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..pipeline import Finding, Model
from ..utils import CUASError, write_json
from .requests import InferOptions

__all__ = ["Finding", "ServedModel"]


class ServedModel:
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
        self.metadata = json.loads((self.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        self.defaults: dict[str, Any] = dict(ConfigParser(config).get_parsed_content("displayable_configs"))
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[str, int], Model] | None = None
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

    def model(self) -> Model:
        """The model in use, read again when its file has changed."""
        path = self.weights()
        key = (str(path), path.stat().st_mtime_ns if path.exists() else 0)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = (key, Model(path))
        return self._loaded[1]

    def find(self, image: str, options: InferOptions) -> Finding:
        """
        Map and mask of one scan; one at a time, as memory is for one.

        Args:
            image: path, or DICOM series as ``FOLDER::SeriesInstanceUID``.
            options: see :class:`InferOptions`.

        Raises:
            CUASError: if the scan cannot be used, or the rate is beyond the calibration.
        """
        with self._lock:
            model = self.model()
            finding = model.find(image, options.asked_rate, min_component_ml=options.min_component_ml)
            return replace(finding, summary={**finding.summary, "weights_sha256": model.sha256})
