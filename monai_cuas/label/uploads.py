# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Files of a request, and how much of a request is taken at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any

from fastapi import HTTPException, UploadFile
from fastapi.responses import JSONResponse

from .requests import Upload, refuse, suffix_of

__all__ = ["MAX_UPLOAD_VARIABLE", "UPLOADS_VARIABLE", "LimitBody", "store_upload"]

MAX_UPLOAD_VARIABLE = "MONAI_CUAS_MAX_UPLOAD_MB"
UPLOADS_VARIABLE = "MONAI_CUAS_UPLOADS"

# A body that is no upload is read whole into memory: the longest that is needed names 10000 images.
_MAX_PLAIN = 2 * 2**20
# an upload smaller than this stays in memory and needs no place
_SMALL = 2**20
_UPLOAD_SECONDS = 600.0
# what is small has arrived long before, unless somebody keeps connections
_SMALL_SECONDS = 60.0


def store_upload(upload: UploadFile, folder: str, what: str) -> Upload:
    """
    Write a file of a request into a folder, under a name of the server's own.

    Raises:
        HTTPException: 415 if it is of no known format by its name.
    """
    path = Path(folder, f"upload{suffix_of(upload.filename, what)}")
    with open(path, "wb") as file:
        shutil.copyfileobj(upload.file, file)
    return Upload(path)


def _max_bytes() -> int:
    return int(float(os.environ.get(MAX_UPLOAD_VARIABLE, 512)) * 2**20)


def _max_uploads() -> int:
    told = os.environ.get(UPLOADS_VARIABLE, "")
    return max(1, int(told)) if told.isdigit() else 8


class LimitBody:
    """
    ASGI layer that bounds bodies: what one may hold, how long it may take, and how many large ones there are at once.

    A path with '..' is refused too.
    """

    def __init__(self, app: Any) -> None:
        self.app, self.uploads = app, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {k.lower(): v for k, v in scope.get("headers", [])}
        is_upload = headers.get(b"content-type", b"").lower().startswith(b"multipart/")
        limit = _max_bytes() if is_upload else min(_MAX_PLAIN, _max_bytes())
        length = headers.get(b"content-length", b"0")
        known = int(length) if length.isdigit() and len(length) < 20 else limit + 1
        large = is_upload and (known > _SMALL or b"transfer-encoding" in headers)
        if ".." in scope["path"].split("/"):
            refusal: HTTPException | None = refuse(400, "A path must not hold '..'.")
        elif b"transfer-encoding" in headers and b"content-length" in headers:
            # a proxy before the server may believe the other one, and take the end of the body for a request
            refusal = refuse(400, "A request says how long it is in one way, not in two.")
        elif known > limit:
            refusal = refuse(413, _too_large(limit))
        elif large and self.uploads >= _max_uploads():
            refusal = refuse(429, "As many files are being sent as the server takes at once; send it again in a while.")
        else:
            refusal = None
        if refusal is None:
            await self._bounded(scope, receive, send, limit, large)
            return
        await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, send)

    async def _bounded(self, scope: Any, receive: Any, send: Any, limit: int, large: bool) -> None:
        seconds = _UPLOAD_SECONDS if large else _SMALL_SECONDS
        seen, ended, end = 0, False, time.monotonic() + seconds

        async def counted() -> Any:
            nonlocal seen, ended
            if ended:  # from here on only the end of the connection is waited for
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except asyncio.TimeoutError:
                raise refuse(408, f"The request took longer than {seconds:g} seconds to arrive.") from None
            seen += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if seen > limit:
                raise refuse(413, _too_large(limit))
            return message

        self.uploads += large
        try:
            await self.app(scope, counted, send)
        finally:
            self.uploads -= large


def _too_large(limit: int) -> str:
    return f"The request is larger than {limit / 2**20:g} MB."
