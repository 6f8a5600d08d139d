# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which of the server's models a scan is offered, and which one is used where the server chooses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask

from ..bundle.choice import model_of
from ..data.contrast import Contrast, contrast_named, contrast_of, label
from ..shipped import DEFAULT_MODEL
from .infer import MODEL, AnomalyInferTask
from .requests import Upload, check_id, check_size, refuse
from .sequences import Asked, Offer, Wanted, offers, taken

__all__ = ["OfferedModels", "asked_of"]


def asked_of(request: Mapping[str, Any], datastore: Any) -> Asked:
    """
    The scans that a request names.

    Args:
        request: "image", an id or an :class:`Upload` (with its "file_name"); or "images", ids; or "study".
        datastore: of the scans.

    Raises:
        HTTPException: 400 if it names none, or in more than one way; 404 for an unknown study.
    """
    image, images, study = request.get("image"), request.get("images"), request.get("study")
    if isinstance(image, Upload):
        told = Contrast(contrast_named(str(request.get("file_name") or "")), "file name")
        return Asked((str(image),), tuple, False, lambda _: told if told.name else _of_file(str(image)))
    ways = [way for way in (image, images, study) if way]
    if len(ways) > 1:
        raise refuse(400, "Name an image, several images, or a study, and not two of them.")
    if study:
        found = datastore.images_of_study(str(study))
        return Asked((), lambda: found, True, cache(datastore.contrast))
    ids = tuple(check_id(str(one)) for one in (images or [image or ""]))
    if len(set(ids)) < len(ids):
        raise refuse(400, "An image is named twice.")
    for one in ids:
        datastore.get_image_uri(one)
    return Asked(ids, lambda: datastore.images_beside(ids[0]), False, cache(datastore.contrast))


def _of_file(path: str) -> Contrast:
    check_size(path)
    return contrast_of(path)


class OfferedModels:
    """
    The models for a scan.

    Args:
        tasks: the server's, by name, as they are at each moment.
    """

    def __init__(self, tasks: Mapping[str, InferTask]) -> None:
        self.tasks = tasks

    def wanted(self) -> dict[str, Wanted]:
        """What each of the folder's models takes; the phantom's knows no patient and is offered for none."""
        found = {name: task for name, task in self.tasks.items() if name not in (MODEL, DEFAULT_MODEL)}
        return {name: task.wanted for name, task in found.items() if isinstance(task, AnomalyInferTask)}

    def for_model(self, name: str, asked: Asked) -> Offer:
        """
        The model of a name, or, for :data:`AUTO`, the one that fits, with the scans that it takes.

        Raises:
            HTTPException: 404 for an unknown model, 422 if the scans do not fit it.
        """
        task = self.tasks.get(name)
        if task is None:
            raise refuse(404, f"There is no such model; there is {', '.join(self.tasks)}.")
        if isinstance(task, AnomalyInferTask):
            return taken(name, task.wanted, asked)
        return self._chosen(asked)

    def _chosen(self, asked: Asked) -> Offer:
        fit = self.offers(asked)
        single = not asked.whole and len(asked.images) == 1
        if fit and not single and len({o.images for o in fit if len(o.images) == len(fit[0].images)}) > 1:
            raise refuse(422, f"Several models fit: {', '.join(o.model for o in fit)}; name the one that is meant.")
        if fit:
            return fit[0]
        if not single:
            raise refuse(422, f"No model takes these scans together; there is {', '.join(self.tasks)}.")
        contrasts = {str(c) for w in self.wanted().values() if w.told for c in w.contrasts if len(w.contrasts) == 1}
        _, note = model_of(asked.contrast(asked.images[0]), contrasts, MODEL)
        return Offer(MODEL, asked.images, (note,))

    def offers(self, asked: Asked) -> list[Offer]:
        """The folder's models that fit, the best first."""
        return offers(self.wanted(), asked)

    def described(self, asked: Asked) -> dict[str, Any]:
        """What clients are told of the models for a scan or a study."""
        images = asked.images or tuple(asked.study())
        told = {image: asked.contrast(image) for image in images}
        fit = [{"model": o.model, "images": list(o.images), "notes": list(o.notes)} for o in self.offers(asked)]
        scans = {i: {"contrast": label(c.name), "told_by": c.why, "doubt": c.doubt} for i, c in told.items()}
        return {"scans": scans, "offered": fit}
