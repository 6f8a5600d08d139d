# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""OHIF, as monailabel ships it, with our settings and without requests to other hosts; and its way to the PACS."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated

import requests
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from monailabel import endpoints as _endpoints
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.utils.others.generic import get_mime_type

from .requests import refuse

__all__ = ["POLICY", "router"]

_OHIF = Path(_endpoints.__file__).parent / "static" / "ohif"
_CONFIG = Path(__file__).with_name("ohif.js")
_FOREIGN_LINKS = re.compile(r'<link\b[^>]*\bhref="https?://[^>]*>')
_DICOMWEB_PATH = re.compile(r"studies(/[A-Za-z0-9._-]+)*")

POLICY = "; ".join(
    (
        "default-src 'self'",
        # OHIF's own pages need these three: a script in the page, WebAssembly, workers made on the fly
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
"""Content-Security-Policy of OHIF's page: the browser lets it talk to this server and to nothing else."""

router = APIRouter()
Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


@cache
def _page() -> str:
    """OHIF's page without the links to fonts on the internet; it shows the system's instead."""
    return _FOREIGN_LINKS.sub("", (_OHIF / "index.html").read_text(encoding="utf-8"))


@router.get("/ohif/{path:path}", include_in_schema=False)
def ohif(user: Reader, path: str) -> Response:
    """A file of OHIF; its page for any other address, as OHIF has addresses of its own."""
    if path == "app-config.js":
        return FileResponse(_CONFIG, media_type="text/javascript", headers={"Cache-Control": "no-cache"})
    try:
        file = (_OHIF / path).resolve()
        known = path not in ("", "index.html") and file.is_relative_to(_OHIF.resolve()) and file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        known = False
    if known:
        return FileResponse(file, media_type=get_mime_type(str(file)))
    if not (_OHIF / "index.html").is_file():
        raise refuse(404, "This monailabel was installed without OHIF.")
    return HTMLResponse(_page(), headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


@router.get("/proxy/dicom/{kind}/{path:path}", include_in_schema=False)
def dicomweb(user: Reader, request: Request, kind: str, path: str) -> Response:
    """
    Pass a reading request of OHIF on to the DICOMweb server; there is no way to write.

    MONAI Label's own leaves out what is asked for (each search gives all studies), holds up all other requests while
    it waits, and takes files from everybody.

    Raises:
        HTTPException: 404 for another address than one of DICOMweb's studies, 502 if the server does not answer.
    """
    prefixes = {"wado": settings.MONAI_LABEL_WADO_PREFIX, "qido": settings.MONAI_LABEL_QIDO_PREFIX}
    base = settings.MONAI_LABEL_STUDIES.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise refuse(404, "The studies are in a folder: OHIF needs a DICOMweb server for --studies.")
    if kind not in prefixes or not _DICOMWEB_PATH.fullmatch(path) or ".." in path:
        raise refuse(404, "This is no address of DICOMweb's studies.")
    prefix = prefixes["wado" if path.endswith("/metadata") else kind]
    user_name, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    try:
        answer = requests.get(
            "/".join(filter(None, (base, prefix, path))),
            params=request.url.query,
            headers={"Accept": request.headers.get("accept", "*/*")},
            auth=(user_name, password) if user_name and password else None,
            timeout=60,
        )
    except requests.RequestException:
        raise refuse(502, "The DICOMweb server does not answer.") from None
    kept = {"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")}
    return Response(answer.content, answer.status_code, {**kept, "Cache-Control": "no-store"})
