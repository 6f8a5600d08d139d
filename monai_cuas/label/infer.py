# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The inference task: a mask, the anomaly map and the scan score; no name of a scan is logged."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from ..utils import CUASError
from .files import write_volume
from .model import ServedModel
from .requests import InferOptions, check_size, refuse, sentence

__all__ = ["LABELS", "AnomalyInferTask"]

LABELS = {"anomaly": 1}


class AnomalyInferTask(InferTask):
    """
    Find anomalies in one scan.

    Args:
        model: the bundle and its weights.
    """

    def __init__(self, model: ServedModel) -> None:
        description = str(model.metadata["description"])
        super().__init__(InferType.SEGMENTATION, LABELS, 3, description, dict(model.defaults))
        self.model = model

    def is_valid(self) -> bool:
        """The weights were loaded when the app started."""
        return True

    def get_path(self, validate: bool = True) -> str:
        """The weights in use."""
        return str(self.model.weights())

    def info(self) -> dict[str, Any]:
        """What clients see; ``weights`` begins the SHA-256 of those in use."""
        return {**super().info(), "version": self.model.metadata.get("version"), "weights": self.model.model().digest}

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        """
        Args:
            request: "image", a checked path; "image_name", what messages call it; "folder", where files go; and the
                options. With "anomaly_map" the map is written too, its path is in the result under "anomaly_file".
            callbacks: not used.

        Returns:
            Path of the mask and what is said of the scan.

        Raises:
            HTTPException: 4xx with a sentence.
        """
        start = time.perf_counter()
        options = InferOptions.of(request, self.model.defaults)
        check_size(request["image"])
        try:
            finding = self.model.find(request["image"], options)
        except CUASError as error:
            raise refuse(422, sentence(error, str(request.get("image_name", "The scan")))) from None
        folder = request.get("folder") or tempfile.mkdtemp(prefix="cuas-")
        result: dict[str, Any] = {**finding.summary, "label_names": self.labels}
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
