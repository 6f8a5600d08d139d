# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Training on the scans that readers marked as normal; new weights must earn their place."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monai.bundle import ConfigParser
from monailabel.interfaces.tasks.train import TrainTask

from ..bundle import run_config
from ..networks.utils import load_weights
from ..pipeline import Model
from ..utils import CUASError, write_json
from .datastore import is_normal
from .lifeline import server_lives
from .model import ServedModel
from .requests import refuse

__all__ = ["PARTS", "TrainOnNormals", "held_out_rate", "not_worse", "split_subjects"]

logger = logging.getLogger(__name__)

PARTS: dict[str, tuple[int, float]] = {
    "training": (4, 0.5),
    "calibration": (3, 0.2),
    "validation": (1, 0.1),
    "test_normal": (3, 0.2),
}
"""Smallest number of subjects and share of each list; those of "test_normal" are never trained or calibrated on."""

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


def subject_of(image: str) -> str:
    """The BIDS subject in an image's id, or the id itself."""
    found = _SUBJECT.search(image)
    return found.group() if found else image


def split_subjects(subjects: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """
    Part of each subject; who has one keeps it, so that a scan once held out is so in all later trainings.

    Args:
        subjects: names.
        known: parts that were given before.

    Raises:
        HTTPException: 409 if there are too few subjects.
    """
    needed = sum(least for least, _ in PARTS.values())
    if len(set(subjects)) < needed:
        raise refuse(
            409,
            f"{len(set(subjects))} subjects are marked normal by an empty final label; training needs {needed}.",
        )
    parts = {subject: known[subject] for subject in sorted(set(subjects)) if known.get(subject) in PARTS}
    new = sorted(set(subjects) - parts.keys(), key=lambda s: hashlib.sha256(s.encode()).hexdigest())
    for subject in new:
        have = {part: sum(p == part for p in parts.values()) for part in PARTS}
        wanted = {part: max(least, share * len(set(subjects))) for part, (least, share) in PARTS.items()}
        parts[subject] = max(PARTS, key=lambda part: (wanted[part] - have[part]) / wanted[part])
    return parts


def held_out_rate(model: Model, images: Sequence[str], rate: float) -> float:
    """
    How often weights find something in normal brains that took no part in their training.

    Args:
        model: the weights.
        images: held-out normal scans.
        rate: healthy rate of the threshold.

    Returns:
        The share of brain voxels above the threshold of ``rate``, over all scans.
    """
    findings = [model.find(image, rate) for image in images]
    return sum(int(f.mask.sum()) for f in findings) / max(sum(int(f.brain.sum()) for f in findings), 1)


def not_worse(new: Mapping[str, float], served: Mapping[str, float], rate: float) -> bool:
    """Whether new weights keep the stated rate, and have a loss on normal brains, at least as well as the served."""

    def off(figures: Mapping[str, float]) -> float:
        return abs(math.log10(max(figures["realised_rate"], 1e-6) / rate))

    return off(new) <= off(served) and new["loss"] <= served["loss"]


def _epochs(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise refuse(400, "max_epochs must be a whole number from 1 to 10000.")
    return value


def _marked_normal(datastore: Any, image: str) -> bool:
    """Whether a reader marked a scan as normal; not if its label cannot be read."""
    try:
        return is_normal(datastore, image)
    except (CUASError, HTTPException, OSError, ValueError):
        return False


class TrainOnNormals(TrainTask):
    """
    Train, calibrate, and compare on held-out normals; the old weights always stay on disk.

    Args:
        model: what is served; it is told of new weights that are not worse.
        overlay: JSON file with ids of train.json to override. It is named when the server is started: a config can
            hold Python expressions, so a request must not bring one.
    """

    def __init__(self, model: ServedModel, overlay: str | None = None) -> None:
        super().__init__("Train on the scans whose final label is empty; new weights must not be worse")
        self.model = model
        self.overlay = json.loads(Path(overlay).read_text(encoding="utf-8")) if overlay else {}

    def config(self) -> dict[str, Any]:
        return {"max_epochs": 5, "pretrained": True}

    def stats(self) -> dict[str, Any]:
        """Report of the last training that ended."""
        reports = sorted(self.model.bundle.glob("versions/*/report.json"))
        return json.loads(reports[-1].read_text(encoding="utf-8")) if reports else {}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """
        Args:
            request: "max_epochs"; "pretrained": begin with the weights in use. Nothing else of it is used.
            datastore: of the scans.

        Returns:
            The report: figures of both weights, and which are served.

        Raises:
            HTTPException: 409 if there are too few normal scans.
            CUASError: if training fails; what is served is untouched.
        """
        epochs = _epochs(request.get("max_epochs", self.config()["max_epochs"]))
        normals = self._normals(datastore)
        parts = self._split(list(normals))
        versions = self.model.bundle / "versions"
        versions.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=versions))
        lists = {part: [p for s, paths in normals.items() if parts[s] == part for p in paths] for part in PARTS}
        content = {part: [{"image": path} for path in paths] for part, paths in lists.items()}
        write_json(folder / "dataset.json", {**content, "test_lesion": []})
        self._train(epochs, bool(request.get("pretrained", True)), folder)
        return self._judge(folder, lists["test_normal"])

    def require_subjects(self, datastore: Any) -> None:
        """
        Refuse a training that cannot begin, before a process is started for it.

        Raises:
            HTTPException: 409 if too few subjects are marked normal.
        """
        images = [image for image in datastore.get_labeled_images() if _marked_normal(datastore, image)]
        split_subjects([subject_of(image) for image in images], {})

    def _normals(self, datastore: Any) -> dict[str, list[str]]:
        """Paths of the usable normal scans of each subject."""
        found: dict[str, list[str]] = {}
        preprocessing = self.model.model().preprocessing()
        for image in sorted(datastore.get_labeled_images()):
            try:
                path = datastore.get_image_uri(image)
                if is_normal(datastore, image):
                    preprocessing({"image": path})
                    found.setdefault(subject_of(image), []).append(path)
            except (CUASError, HTTPException):
                continue
            except Exception as error:
                logger.error("%s while a normal scan was read; it is left out.", type(error).__name__)
        return found

    def _split(self, subjects: Sequence[str]) -> dict[str, str]:
        file = self.model.bundle / "split.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        parts = split_subjects(subjects, known)
        write_json(file, {**known, **parts})
        return parts

    def _ids(self, folder: Path) -> dict[str, Any]:
        """Ids of train.json for a version's folder."""
        ids = {"dataset_dir": str(folder), "output_dir": str(folder), "cache_dir": str(folder / "cache")}
        # no processes of its own, which could outlive a server that is killed
        return {**ids, "num_workers": 0, **self.overlay}

    def _train(self, epochs: int, pretrained: bool, folder: Path) -> None:
        ids = {"epochs": epochs, "after_training": ["calibrate"], **self._ids(folder)}
        if pretrained:
            load = f"$load_weights(@network_def, {str(self.model.weights())!r})"
            ids["initialize"] = ["$setup(seed=@seed, output_dir=@output_dir)", load]
        run_config(self.model.bundle, ["train.json"], ids, workflow_type="train")

    def _held_out_loss(self, weights: Path, folder: Path) -> float:
        """Loss on the held-out normals, as train.json has it on those that choose the best epoch."""
        config = ConfigParser()
        config.read_config(str(self.model.bundle / "configs" / "train.json"))
        held_out = "$load_datalist(@dataset_dir + '/dataset.json', 'test_normal')"
        ids = {"bundle_root": str(self.model.bundle), **self._ids(folder)}
        config.update({**ids, "validate#dataset#data": held_out, "validate#handlers": []})
        load_weights(config.get_parsed_content("network_def"), weights)
        evaluator = config.get_parsed_content("validate#evaluator")
        evaluator.run()
        return float(evaluator.state.metrics["val_loss"])

    def _judge(self, folder: Path, images: Sequence[str]) -> dict[str, Any]:
        weights, rate = folder / "model.pt", float(self.model.defaults.get("rate", 0.01))
        new, served = (
            {
                "realised_rate": held_out_rate(Model(file), images, rate),
                "loss": self._held_out_loss(file, folder),
                "scans": len(images),
            }
            for file in (weights, self.model.weights())
        )
        better = not_worse(new, served, rate)
        before = str(self.model.weights().relative_to(self.model.bundle))
        report = {"rate": rate, "new": new, "served": served, "served_before": before, "new_is_served": better}
        write_json(folder / "report.json", report)
        if better:
            if not server_lives():
                raise CUASError("The server ended while its training ran; the weights that it served stay.")
            self.model.serve(weights)
        return report
