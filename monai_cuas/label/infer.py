# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The inference task: a mask, the anomaly map and the scan score; no name of a scan is logged."""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from ..utils import CUASError
from .files import write_volume
from .model import LoadedModel, ServedModel
from .requests import InferOptions, check_size, refuse, sentence
from .sequences import Wanted
from .shelf import ModelShelf

__all__ = ["AUTO", "LABELS", "MODEL", "AnomalyInferTask", "ChosenByContrast", "ServedTasks"]

LABELS = {"anomaly": 1}

MODEL = "cuas"
"""The model that trains here: its name for clients."""

AUTO = "auto"
"""The name under which the server chooses a model itself."""


class _Task(InferTask):
    """What all models of the server have in common for clients."""

    def __init__(self, description: str, defaults: Mapping[str, Any]) -> None:
        super().__init__(InferType.SEGMENTATION, LABELS, 3, description, dict(defaults))

    def is_valid(self) -> bool:
        """What is offered was read before."""
        return True

    @abstractmethod
    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        """Path of the mask and what is said of the scan."""


class AnomalyInferTask(_Task):
    """
    Find anomalies in one scan.

    Args:
        model: the bundle and its weights.
        name: for clients.
    """

    def __init__(self, model: LoadedModel, name: str = MODEL) -> None:
        super().__init__(str(model.metadata["description"]), model.defaults)
        self.model, self.name = model, name

    @property
    def wanted(self) -> Wanted:
        """The sequences that it takes."""
        return Wanted.of(self.model.recipe, self.name)

    def get_path(self, validate: bool = True) -> str:
        """The weights in use."""
        return str(self.model.weights())

    def info(self) -> dict[str, Any]:
        """What clients see; ``weights`` begins the SHA-256 of those in use."""
        said = {"version": self.model.metadata.get("version"), "weights": self.model.digest}
        return {**super().info(), **said, "method": self.model.recipe.method, "sequences": list(self.wanted.names)}

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        """
        Args:
            request: "image", a checked path, or a list of them for a model of several sequences; "image_names", what
                messages call each; "folder", where files go; and the options. With "anomaly_map" the map is written
                too, its path is in the result under "anomaly_file".
            callbacks: not used.

        Returns:
            Path of the mask and what is said of the scan.

        Raises:
            HTTPException: 4xx with a sentence.
        """
        start = time.perf_counter()
        options = InferOptions.of(request, self.model.defaults)
        paths = request["image"] if isinstance(request["image"], list) else [request["image"]]
        names = request.get("image_names") or ["The scan"] * len(paths)
        for path in paths:
            check_size(path)
        try:
            finding = self.model.find(paths if len(paths) > 1 else paths[0], options)
        except CUASError as error:
            raise refuse(422, sentence(error, names[0], dict(zip(map(str, paths), names)))) from None
        folder = request.get("folder") or tempfile.mkdtemp(prefix="cuas-")
        result: dict[str, Any] = {**finding.summary, "label_names": self.labels, "model": self.name}
        result["notes"] = [*request.get("notes", ()), *finding.notes]
        file = write_volume(
            f"{folder}/mask{options.suffix}", finding.mask, finding.affine, options.compress, finding.form
        )
        if request.get("anomaly_map"):
            anomaly = write_volume(
                f"{folder}/anomaly{options.suffix}", finding.map, finding.affine, options.compress, finding.form
            )
            result["anomaly_file"] = str(anomaly)
        result["latencies"] = {"total": round(time.perf_counter() - start, 2)}
        return str(file), result


class ChosenByContrast(_Task):
    """
    Stands in the list of models for whichever one fits a scan; the app puts that one in its place.

    Args:
        defaults: options of a request that does not say them.
    """

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        super().__init__("The model whose contrast the scan has", defaults)

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        raise refuse(422, "A model must be chosen first.")


class ServedTasks(Mapping[str, InferTask]):
    """
    The models by name: the one that trains here, the choice by contrast, and the folder's, as they are now.

    Args:
        model: the one that trains here.
    """

    def __init__(self, model: ServedModel) -> None:
        fixed: list[Callable[[], InferTask]] = [
            lambda: AnomalyInferTask(model),
            lambda: ChosenByContrast(model.defaults),
        ]
        self._fixed = dict(zip((MODEL, AUTO), fixed))
        self.shelf = ModelShelf(model, self._fixed)

    def __getitem__(self, name: str) -> InferTask:
        if name in self._fixed:
            return self._fixed[name]()
        return AnomalyInferTask(self.shelf.models()[name], name)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._fixed, *self.shelf.models()])

    def __len__(self) -> int:
        return len(list(iter(self)))
