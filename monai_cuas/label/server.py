# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The routes: MONAI Label's own where they are safe, and ours where a request could do harm."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from monailabel.config import settings
from monailabel.endpoints import activelearning, login, model
from monailabel.endpoints.user.auth import User
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder
from starlette.background import BackgroundTask
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..utils import CUASError, user_message
from . import auth, downloads, sessions, viewer
from .line import heavy, long
from .members import shown
from .offered import asked_of
from .parameters import checked
from .proposals import check_origin
from .requests import Upload, check_id, check_size, check_tag, own_words, parse_params, refuse, sentence, suffix_of
from .roles import SAVES, Admin, Annotator, Reader
from .uploads import LimitBody, store_upload

__all__ = ["HOSTS_VARIABLE", "ROUTERS", "app", "create_app"]

logger = logging.getLogger(__name__)

HOSTS_VARIABLE = "MONAI_CUAS_HOSTS"

# What of MONAI Label's own is kept; the rest is written anew, here and in the modules of the routers. Gone are: upload,
# download and removal of weights, whole slides, reloading, GPU listing, the pages that load scripts from the internet.
_KEPT = {model: {("/model/info/{model}", "GET")}}

router = APIRouter()
ROUTERS = (router, downloads.router, sessions.router, viewer.router)


_PIECE = 2**20


class Output(str, Enum):
    """What POST /infer gives."""

    image = "image"
    anomaly = "anomaly"
    json = "json"
    all = "all"
    dicom_seg = "dicom_seg"
    dicom_map = "dicom_map"
    dicom_painted = "dicom_painted"


# what is made of the map, and of the mask, by the datastore of a PACS
_OF_MAP = {Output.dicom_map: "parametric_map", Output.dicom_painted: "painted"}
_SAVED = {"save_map": "saved_map", "save_painted": "saved_painted"}


def _label_file(app: Any, image: str, label: UploadFile, information: dict[str, Any], folder: str) -> Upload:
    """The upload, or, for the bare voxels that OHIF has, a file made of them; what they mean leaves ``information``."""
    if not (label.filename or "").lower().endswith(".bin"):
        return store_upload(label, folder, "label")
    from_voxels = getattr(app.datastore(), "label_of_voxels", None)
    if from_voxels is None:
        raise refuse(415, "Bare voxels are taken for DICOM series only; send NIfTI or NRRD.")
    shape, images = information.pop("shape", None), information.pop("images", None)
    return Upload(from_voxels(image, label.file.read(), shape, images, folder))


@router.get("/health", include_in_schema=False)
def health() -> Any:
    """Open to everybody: that the server runs, whether the weights in use can be used, and nothing else."""
    try:
        app_instance().model.model()
    except Exception as error:
        # which file it is stands in the log, not here
        logger.error("%s: the weights in use cannot be used.", type(error).__name__)
        return JSONResponse({"status": "no model", "detail": "The weights in use cannot be used; see the log."}, 503)
    return {"status": "ready", "model": "loaded"}


@router.post("/infer/{model}")
def infer(
    user: Reader,
    model: str,
    image: str = "",
    images: Annotated[list[str] | None, Query(max_length=16)] = None,
    study: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: Output | None = None,
) -> Any:
    """Mask of a scan by its id, of several at once, a study, a session, or an upload; see docs/how-to/hospital.md."""
    options = checked("infer", parse_params(params))
    if any(options.get(name) for name in ("save_label", *_SAVED)):
        _require_saver(user)
    app = app_instance()
    folder = tempfile.mkdtemp(prefix="cuas-")
    try:
        request = {**options, "model": model, "folder": Upload(folder), "user": user.username}
        request |= {"image": image, "images": images, "study": study}
        if file is not None:
            request |= {"image": store_upload(file, folder, "scan"), "file_name": file.filename}
        elif session_id:
            found = app.sessions().get_session(session_id) if app.sessions() else None
            if found is None:
                raise refuse(404, "There is no such session; it may have expired.")
            request["image"] = Upload(found.image)
        elif not (image or images or study):
            raise refuse(400, "Name an image, a study, a session, or upload a file.")
        # an upload is no series of the PACS, whatever id came with it
        named = "" if isinstance(request["image"], Upload) else image or study or (images or [""])[0]
        saves = {said: _of_the_pacs(app, named, name) for name, said in _SAVED.items() if options.get(name)}
        if output is Output.anomaly or output in _OF_MAP or options.get("result") == "anomaly" or saves:
            request["anomaly_map"] = True
        # a mask that a reader is shown may become the reader's label
        request["proposes"] = output not in (Output.json, Output.anomaly, *_OF_MAP)
        with heavy.turn():
            result = app.infer(request)
            series = result["image"]
            for said, save in saves.items():
                result["params"][said] = save(series, result["params"]["anomaly_file"], folder, result["params"])
            return _answer(app, result, series, options, output, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@router.get("/models/")
def models(user: Reader, image: str = "", study: str = "") -> Any:
    """The models and the files that are left out; with a scan or a study, also those that are offered for it."""
    app = app_instance()
    info = {name: task.info() for name, task in app._infers.items()}
    said = {"models": info, "left_out": app._infers.shelf.left_out()}
    if not (image or study):
        return said
    with heavy.turn():
        asked = asked_of({"image": image, "study": study}, app.datastore())
        return {**said, **app.offered.described(asked)}


def _require_saver(user: User) -> None:
    """
    Raises:
        HTTPException: 403 if the user may read only: a saved label counts for those who come after.
    """
    if settings.MONAI_LABEL_AUTH_ENABLE and not set(user.roles) & set(SAVES):
        raise refuse(403, "Saving a label needs the role of an annotator.")


@router.post("/batch/infer/{model}")
def batch(
    user: Admin, model: str, images: str = "all", params: dict[str, Any] | None = None, run_sync: bool = False
) -> Any:
    """Mask every scan of the datastore, in a process of its own."""
    request = checked("batch", {"images": images, **(params or {})})
    return _begin("batch_infer", _known_model(model), {**request, "user": user.username}, run_sync)


@router.post("/train/", include_in_schema=False)
@router.post("/train/{model}")
def begin_training(user: Admin, model: str = "", params: dict[str, Any] | None = None, run_sync: bool = False) -> Any:
    """Train on the scans that readers marked as normal, in a process of its own."""
    app = app_instance()
    name = _known_model(model or next(iter(app._trainers)))
    if name not in app._trainers:
        raise refuse(409, f"The model '{name}' does not train; {', '.join(app._trainers)} trains here.")
    asked = checked("train", (params or {}).get(name, params))
    with heavy.turn():
        app._trainers[name].require_subjects(app.datastore())
    return _begin("train", name, asked, run_sync)


@router.post("/scoring/", include_in_schema=False)
@router.post("/scoring/{method}")
def begin_scoring(
    user: Annotator, method: str = "", params: dict[str, Any] | None = None, run_sync: bool = False
) -> Any:
    """Score every scan of the datastore, in a process of its own."""
    known = app_instance()._scoring_methods
    name = method or next(iter(known))
    if name not in known:
        raise refuse(404, f"There is no such scoring method; there is {', '.join(known)}.")
    return _begin("scoring", None, {**checked("scoring", params), "method": name}, run_sync)


@router.post("/activelearning/{strategy}")
def next_scan(user: Reader, strategy: str, params: dict[str, Any] | None = None) -> Any:
    """The scan to read next."""
    asked = checked("next", params)
    with long.turn():
        return activelearning.sample(strategy, asked, user.username)


def _known_model(model: str) -> str:
    known = app_instance()._infers
    if model not in known:
        raise refuse(404, f"There is no such model; there is {', '.join(known)}.")
    return model


def _begin(method: str, model: str | None, request: dict[str, Any], run_sync: bool) -> Any:
    """
    Start a task of MONAI Label's in a process of its own, or run it here and wait. ``params`` stays empty: it would be
    laid over the request.

    Raises:
        HTTPException: 429 if one of its kind runs already, or too many are waited for.
    """
    whole = {**request, **({"model": model} if model else {})}
    with long.turn() if run_sync else nullcontext():
        task, _ = AsyncTask.run(method, request=whole, params={}, force_sync=run_sync)
    if task is None:
        raise refuse(429, f"{method} runs already; ask for its state, or stop it first.")
    return task


def _of_the_pacs(app: Any, image: str, method: str) -> Any:
    """
    Raises:
        HTTPException: 400 if there is no series that a DICOM object could refer to.
    """
    found = getattr(app.datastore(), method, None)
    if found is None or not image:
        raise refuse(400, "DICOM segmentations and maps need a DICOMweb server for --studies and a SeriesInstanceUID.")
    return found


def _answer(app: Any, result: dict[str, Any], image: str, options: Any, output: Output | None, folder: str) -> Any:
    params = dict(result["params"])
    anomaly = params.pop("anomaly_file", None)
    clean = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    if output is Output.json:
        return JSONResponse(params, background=clean)
    if output is Output.dicom_seg or output in _OF_MAP:
        if output is Output.dicom_seg:
            segment = _of_the_pacs(app, image, "segmentation")
            made = segment(image, result["file"], options.get("label_info"), folder, params)
        else:
            made = _of_the_pacs(app, image, _OF_MAP[output])(image, anomaly, folder, params)
        suffix = Path(made).suffix
        kind = "application/zip" if suffix == ".zip" else "application/dicom"
        name = f"anomaly_{output.value.removeprefix('dicom_')}{suffix}"
        return FileResponse(made, media_type=kind, filename=name, background=clean)
    if output in (Output.image, Output.anomaly):
        path = anomaly if output is Output.anomaly else result["file"]
        return FileResponse(path, media_type=get_mime_type(path), filename=Path(path).name, background=clean)
    fields: dict[str, Any] = {"params": (None, json.dumps(params), "application/json")}
    # MONAI Label's own client, and with it Slicer, takes the first file of an answer
    first = anomaly if options.get("result") == "anomaly" else result["file"]
    fields["image"] = (Path(first).name, open(first, "rb"), get_mime_type(first))  # noqa: SIM115
    if anomaly not in (None, first):
        fields["anomaly"] = (Path(anomaly).name, open(anomaly, "rb"), get_mime_type(anomaly))  # noqa: SIM115
    # piece by piece: a client that reads slowly would else keep mask and map in memory
    message = MultipartEncoder(fields=fields)
    pieces = iter(lambda: message.read(_PIECE), b"")
    length = {"Content-Length": str(message.len)}
    return StreamingResponse(pieces, media_type=message.content_type, headers=length, background=clean)


@router.put("/datastore/", include_in_schema=False)
@router.put("/datastore/image")
def add_image(
    user: Annotator,
    file: Annotated[UploadFile, File()],
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Add a scan, if the model can use it."""
    app = app_instance()
    information = own_words(params)
    name = Path(file.filename or "").name
    image = check_id(image or name[: -len(suffix_of(name, "scan"))])
    with tempfile.TemporaryDirectory(prefix="cuas-") as folder:
        path = store_upload(file, folder, "scan")
        check_size(path)
        try:
            with heavy.turn():
                app.model.model().preprocessing()({"image": str(path)})
        except CUASError as error:
            raise refuse(422, sentence(error, "The uploaded scan")) from None
        return {"image": app.datastore().add_image(image, str(path), {**information, "user": user.username})}


@router.put("/datastore/label")
def save_label(
    user: Annotator,
    image: str,
    label: Annotated[UploadFile, File()],
    params: Annotated[str, Form()] = "{}",
    tag: str = "final",
) -> dict[str, Any]:
    """Save a reader's label; an empty one says that the scan is normal."""
    app = app_instance()
    information = own_words(params)
    check_id(image), check_origin(information.get("origin"))
    with tempfile.TemporaryDirectory(prefix="cuas-") as folder:
        try:
            with heavy.turn():
                path = _label_file(app, image, label, information, folder)
                said = {**information, "user": user.username, "by": "reader"}
                saved = app.datastore().save_label(image, str(path), check_tag(tag or "final"), said)
        except CUASError as error:
            raise refuse(422, sentence(error, "The label")) from None
    return {"image": image, "label": saved}


@router.put("/datastore/image/info")
def image_info(user: Annotator, image: str, info: Annotated[str, Form()] = "{}") -> dict[str, str]:
    """Add to what is known of a scan; who added the scan stays as it is."""
    information = {**own_words(info), "changed_by": user.username}
    app_instance().datastore().update_image_info(check_id(image), information)
    return {"image": image}


@router.put("/datastore/label/info")
def label_info(user: Annotator, label: str, tag: str, info: Annotated[str, Form()] = "{}") -> dict[str, str]:
    """Add to what is known of a label; who saved it, and how it came about, stays as it is."""
    information = {**own_words(info, "origin"), "changed_by": user.username}
    app_instance().datastore().update_label_info(check_id(label), check_tag(tag), information)
    return {"label": label}


def _not_as_described(error: RequestValidationError) -> str:
    """One sentence on the first thing that is wrong; what was sent is not repeated, it may be what JSON cannot hold."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][:2] if isinstance(part, str)]
    return f"The request is not as it must be: {' '.join(place)}: {shown(str(first['msg'])).rstrip('.')}."


def _refused(request: Request, error: Exception) -> JSONResponse:
    """4xx and one sentence for what the request is to blame for, 5xx and one sentence for what it is not."""
    if isinstance(error, (ImageNotFoundException, LabelNotFoundException)):
        return JSONResponse({"detail": str(error.msg)}, 404)
    if isinstance(error, MONAILabelException):
        return JSONResponse({"detail": str(error.msg)}, 400)
    if isinstance(error, json.JSONDecodeError):
        return JSONResponse({"detail": "This is no JSON object."}, 400)
    if isinstance(error, RequestValidationError):
        return JSONResponse({"detail": _not_as_described(error)}, 422)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JSONResponse({"detail": "The server's disk is full; nothing was saved. Tell who runs it."}, 507)
    message = user_message(error)
    if message is not None:
        return JSONResponse({"detail": message}, 422)
    # Neither the text of an exception nor the request is logged: both can name a patient.
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    logger.error("%s in a request:\n%s", type(error).__name__, where)
    return JSONResponse({"detail": f"The server failed ({type(error).__name__}); its log says where."}, 500)


class CatchAll:
    """ASGI layer inside of which no exception gets out: Starlette's own would log its text."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = False

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            await _refused(Request(scope), error)(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    instance = app_instance()
    instance.server_mode(True)
    instance.on_init_complete()
    yield
    # their processes end with the server; waiting for them would keep it from ending
    for method in ("train", "scoring", "batch_infer"):
        AsyncTask.stop(method)


def _hosts() -> list[str]:
    """
    Names by which the server may be called.

    A page that a browser shows may have its name point to this machine (DNS rebinding); a server without tokens would
    then answer it. One that listens to this machine alone is called by this machine's names.
    """
    told = [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",") if name.strip()]
    words = [part for word in sys.argv for part in (word.split("=", 1) if word.startswith("--host=") else [word])]
    given = [words[k + 1] for k, word in enumerate(words[:-1]) if word in ("-i", "--host")]
    local = "start_server" in sys.argv and given[-1:] in (["127.0.0.1"], ["localhost"])
    return told or (["127.0.0.1", "localhost"] if local else ["*"])


def create_app() -> FastAPI:
    """The ASGI app, for ``--uvicorn_app monai_cuas.label.server:app``."""
    auth.install()
    # With tokens asked for, the description of the routes is not open either.
    described = None if settings.MONAI_LABEL_AUTH_ENABLE else "/openapi.json"
    made = FastAPI(title="monai_cuas", openapi_url=described, docs_url=None, redoc_url=None, lifespan=_lifespan)
    for own in ROUTERS:
        made.include_router(own)
    for module, kept in _KEPT.items():
        for route in module.router.routes:
            if any((route.path, method) in kept for method in route.methods):
                made.router.routes.append(route)
    if settings.MONAI_LABEL_AUTH_ENABLE:
        made.include_router(login.router)
    for kind in (MONAILabelException, CUASError, OSError, ValueError, RequestValidationError):
        made.add_exception_handler(kind, _refused)
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS or []]
    if origins:
        made.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    made.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(), www_redirect=False)
    made.add_middleware(CatchAll)
    made.add_middleware(LimitBody)
    return made


app = create_app()
