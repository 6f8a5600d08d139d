# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scans that are uploaded for a while, one to a session, and their routes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from monailabel.utils.sessions import SessionInfo, Sessions

from .requests import check_id, check_size, is_id, refuse
from .roles import Reader
from .uploads import store_upload

__all__ = ["CheckedSessions", "router"]

router = APIRouter(prefix="/session", tags=["Session"])
_MAX_FILES = 1


class CheckedSessions(Sessions):
    """Sessions of one scan each; a session's name is no path, and what a killed server left goes when it is old."""

    def __bool__(self) -> bool:
        """A dictionary without entries is false; after a start, MONAI Label would neither find nor remove a session."""
        return True

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> SessionInfo | None:
        """None if there is no such session, or it cannot be read."""
        try:
            return super().get_session(check_id(session_id), update_ts, fetch_cache)
        except (ValueError, TypeError, AttributeError, FileNotFoundError):
            return None

    def remove_session(self, session_id: str) -> None:
        super().remove_session(check_id(session_id))

    def remove_expired(self) -> int:
        """Remove what is too old; a folder without readable information is as old as it looks."""
        count, now = 0, time.time()
        for item in os.scandir(self.store_path) if os.path.isdir(self.store_path) else ():
            if not item.is_dir(follow_symlinks=False) or not is_id(item.name):
                continue
            found = self.get_session(item.name, update_ts=False, fetch_cache=False)
            since, lives = (found.last_access_ts, found.expiry) if found else (item.stat().st_mtime, self.expiry)
            if lives > 0 and since + lives < now:
                self.remove_session(item.name)
                count += 1
        return count


def _sessions() -> CheckedSessions:
    sessions = app_instance().sessions()
    if sessions is None:
        raise refuse(406, "Sessions are switched off on this server.")
    return sessions


def _found(session_id: str, update_ts: bool = False) -> SessionInfo:
    found = _sessions().get_session(session_id, update_ts)
    if found is None:
        raise refuse(404, "There is no such session; it may have expired.")
    return found


def _told(found: SessionInfo) -> dict[str, Any]:
    """What a client is told; where the file lies on the server is not."""
    told = json.loads(found.to_str())
    return {
        **{key: told[key] for key in ("name", "create_ts", "last_access_ts", "expiry")},
        "image": Path(found.image).name,
    }


@router.get("/{session_id}")
def get_session(user: Reader, session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """What is known of a session, or its scan."""
    found = _found(session_id, update_ts)
    if image:
        return FileResponse(found.image, media_type=get_mime_type(found.image), filename=Path(found.image).name)
    return _told(found)


@router.put("/")
def create_session(
    user: Reader, files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0
) -> Any:
    """Keep one scan for a while, at most as long as the server is told to."""
    sessions = _sessions()
    if uncompress or len(files) > _MAX_FILES:
        raise refuse(415, "A session takes one file, NIfTI or NRRD; archives and folders are not taken.")
    with tempfile.TemporaryDirectory(prefix="cuas-") as folder:
        path = store_upload(files[0], folder, "scan")
        check_size(path)
        session_id, made = sessions.add_session(str(path), max(0, expiry))
    return {"session_id": session_id, "session_info": _told(made)}


@router.delete("/{session_id}")
def remove_session(user: Reader, session_id: str) -> Any:
    """Remove a session and its scan."""
    told = _told(_found(session_id))
    _sessions().remove_session(session_id)
    return told
