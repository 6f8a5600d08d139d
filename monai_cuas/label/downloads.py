# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Routes that look: into the datastore, at the log, at the server's state. They answer in threads, as a PACS or a lock may
be waited for, and tell no place on the server.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, PlainTextResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.others.generic import file_checksum, get_mime_type
from starlette.background import BackgroundTask

from .line import long
from .requests import check_id, check_tag, refuse
from .roles import Admin, Annotator, Reader

__all__ = ["router"]

router = APIRouter()
_CHECK_SUM = re.compile(r"(?:(MD5|SHA256|SHA512):)?([0-9A-Fa-f]{32,128})")
_MAX_LINES = 10_000


class Listing(str, Enum):
    """What GET /datastore/ gives."""

    train = "train"
    stats = "stats"
    all = "all"


@router.get("/info/")
def info(user: Reader) -> Any:
    """The models, their labels and options."""
    return app_instance().info()


@router.get("/datastore/")
def listing(user: Reader, output: Listing | None = None) -> Any:
    """How many scans there are and have been read; or all of them, or those that were read."""
    store = app_instance().datastore()
    if output is Listing.all:
        return store.json()
    return store.datalist(full_path=False) if output is Listing.train else store.status()


def _image_file(image: str) -> str:
    store = app_instance().datastore()
    path = str(store.get_image_uri(check_id(image)))
    if not os.path.isfile(path):
        raise refuse(404, f"There is no image '{image}'.")
    return path


def _label_file(label: str, tag: str) -> str:
    store = app_instance().datastore()
    path = str(store.get_label_uri(check_id(label), check_tag(tag)))
    if not os.path.isfile(path):
        raise refuse(404, f"There is no label '{tag}' of the image '{label}'.")
    return path


@router.head("/datastore/image")
def check_image(user: Reader, image: str, check_sum: str | None = None) -> dict[str, Any]:
    """Whether there is such an image, and whether it has a checksum: ``SHA256:DIGEST``, or the digest alone."""
    path = _image_file(image)
    if check_sum:
        told = _CHECK_SUM.fullmatch(check_sum)
        if told is None:
            raise refuse(400, "A checksum is MD5, SHA256 or SHA512, a colon, and the digits.")
        if file_checksum(path, told[1] or "SHA256").split(":")[1] != told[2].lower():
            raise refuse(404, "The image is another one than that of the checksum.")
    return {}


@router.get("/datastore/image")
def download_image(user: Reader, image: str) -> FileResponse:
    """A scan's file."""
    path = _image_file(image)
    return FileResponse(path, media_type=get_mime_type(path), filename=Path(path).name)


@router.delete("/datastore/", include_in_schema=False)
@router.delete("/datastore/image")
def remove_image(user: Admin, id: str) -> dict[str, Any]:
    """Remove a scan and its labels."""
    app_instance().datastore().remove_image(check_id(id))
    return {}


@router.get("/datastore/image/info")
def image_info(user: Reader, image: str) -> Any:
    """What is known of a scan."""
    return app_instance().datastore().get_image_info(check_id(image))


@router.head("/datastore/label")
def check_label(user: Reader, tag: str, image: str = "", label: str = "") -> dict[str, Any]:
    """Whether there is such a label."""
    _label_file(image or label, tag)
    return {}


@router.get("/datastore/label")
def download_label(user: Reader, label: str, tag: str) -> FileResponse:
    """A label's file."""
    path = _label_file(label, tag)
    return FileResponse(path, media_type=get_mime_type(path), filename=Path(path).name)


@router.delete("/datastore/label")
def remove_label(user: Admin, id: str, tag: str) -> dict[str, Any]:
    """Remove a label."""
    app_instance().datastore().remove_label(check_id(id), check_tag(tag))
    return {}


@router.get("/datastore/label/info")
def label_info(user: Reader, label: str, tag: str) -> Any:
    """What is known of a label, who saved it above all."""
    return app_instance().datastore().get_label_info(check_id(label), check_tag(tag))


@router.get("/datastore/label/versions")
def label_versions(user: Reader, label: str) -> list[dict[str, Any]]:
    """The final label and those that it replaced, the newest first: who saved each and when, and its tag."""
    return list(app_instance().datastore().label_versions(check_id(label)))


@router.get("/datastore/dataset")
def download_dataset(
    user: Annotator, limit_cases: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
) -> FileResponse:
    """The scans that were read and their labels, in one ZIP archive that is removed when it was sent."""
    with long.turn():
        path = app_instance().datastore().get_dataset_archive(limit_cases)
    clean = BackgroundTask(Path(path).unlink, missing_ok=True)
    return FileResponse(path, media_type="application/zip", filename="dataset.zip", background=clean)


@router.get("/logs/")
def log(user: Admin, lines: Annotated[int, Query(ge=1, le=_MAX_LINES)] = 300) -> PlainTextResponse:
    """The last lines of the server's log, as plain text: MONAI Label's page loads programs from the internet."""
    path = Path(settings.MONAI_LABEL_APP_DIR, "logs", "app.log")
    if not path.is_file():
        raise refuse(404, "There is no log yet.")
    with open(path, encoding="utf-8", errors="replace") as file:
        return PlainTextResponse("".join(deque(file, lines)))


def _state(method: str, everything: bool, only_running: bool) -> Any:
    state, _ = AsyncTask.status(method, everything, only_running)
    if state is None:
        raise refuse(404, f"There is no task of {method} {'running' if only_running else 'yet'}.")
    return _plain(state)


def _stop(method: str) -> Any:
    try:
        return _plain(AsyncTask.stop(method))
    except (psutil.NoSuchProcess, StopIteration, IndexError):
        return None  # it ended by itself in between


def _plain(task: Any) -> Any:
    # the lines that a task printed are a deque
    return json.loads(json.dumps(task, default=list))


@router.get("/train/")
def state_of_training(user: Reader, all: bool = False, check_if_running: bool = False) -> Any:
    """The last training."""
    return _state("train", all, check_if_running)


@router.delete("/train/")
def stop_training(user: Admin) -> Any:
    """End the training; nothing of it is served."""
    return _stop("train")


@router.get("/scoring/")
def state_of_scoring(user: Reader, all: bool = False, check_if_running: bool = False) -> Any:
    """The last scoring."""
    return _state("scoring", all, check_if_running)


@router.delete("/scoring/")
def stop_scoring(user: Annotator) -> Any:
    """End the scoring; scores that were made stay."""
    return _stop("scoring")


@router.get("/batch/infer")
def state_of_batch(user: Reader, all: bool = False, check_if_running: bool = False) -> Any:
    """The last batch."""
    return _state("batch_infer", all, check_if_running)


@router.delete("/batch/infer")
def stop_batch(user: Admin) -> Any:
    """End the batch; masks that were made stay."""
    return _stop("batch_infer")
