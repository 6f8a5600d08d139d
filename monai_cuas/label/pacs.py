# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What a PACS holds, by DICOMweb: lists of its series, page by page, and the series that readers' segmentations belong to.

A list is repeated after some seconds only. What a segmentation refers to never changes, so each is asked for once, and
the answers are kept in a file: of many at once where the PACS tells it in a search, else of each by itself, several at
a time. One that cannot be had is left out and asked for again later; it keeps nobody from the others.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX

from ..io.dicom.statement import READ
from ..utils import write_json
from .requests import refuse

__all__ = ["PACS_ERRORS", "Pacs", "TimedSession", "client_of", "is_uid", "text_of"]

logger = logging.getLogger(__name__)

PACS_ERRORS = (requests.RequestException, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What DICOMweb's client raises for a PACS that is silent, refuses, or answers with something else."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_STUDY, _SERIES, _DESCRIPTION, _REFERENCED = "0020000D", "0020000E", "0008103E", "00081115"
_PAGE = 500
_MAX_PAGES = 2000
_LISTED_SECONDS = 5.0
# a list that took long is kept for longer, or the PACS would do nothing else
_LISTED_TIMES = 10.0
_AGAIN_SECONDS = 300.0
_AT_ONCE = 8
_TIMEOUT = (10.0, 60.0)


class TimedSession(requests.Session):
    """A session that does not wait for ever."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or _TIMEOUT
        return super().request(*args, **kwargs)


def client_of(url: str, session: requests.Session | None = None) -> Any:
    """A client of a DICOMweb server, with MONAI Label's settings for user, password and prefixes."""
    user = settings.MONAI_LABEL_DICOMWEB_USERNAME or settings.MONAI_LABEL_DATASTORE_USERNAME
    password = settings.MONAI_LABEL_DICOMWEB_PASSWORD or settings.MONAI_LABEL_DATASTORE_PASSWORD
    session = session or TimedSession()
    if user and password:
        session.auth = create_session_from_user_pass(user, password).auth
    client = DICOMwebClientX(
        url=url,
        session=session,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    # its own way is to wait up to half a minute for what the PACS refuses
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=200)
    return client


def is_uid(value: Any) -> bool:
    """Whether it is a DICOM UID."""
    return isinstance(value, str) and len(value) <= 64 and _UID.fullmatch(value) is not None


def text_of(item: Any, tag: str) -> str:
    """First value of an attribute in DICOM's JSON; empty if there is none."""
    element = item.get(tag) if isinstance(item, dict) else None
    value = element.get("Value") if isinstance(element, dict) else None
    return str(value[0]) if isinstance(value, list) and value else ""


class Pacs:
    """
    Lists of a PACS.

    Args:
        client: of DICOMweb.
        kept: file of what readers' segmentations refer to; it can be deleted.
        clock: for tests.
    """

    def __init__(self, client: Any, kept: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._file, self._clock = client, kept, clock
        self._listing, self._looking = threading.RLock(), threading.Lock()
        # until when a list counts, and the list
        self._lists: dict[str, tuple[float, list[dict[str, Any]]]] = {}
        self._refers: dict[str, str] = self._read()
        self._failed: dict[str, float] = {}
        self._search_tells = True

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in kept.items() if is_uid(k) and (v == "" or is_uid(v))} if isinstance(kept, dict) else {}

    def forget(self) -> None:
        """Ask for lists anew."""
        with self._listing:
            self._lists.clear()

    def search(self, **filters: str) -> list[dict[str, Any]]:
        """
        Series of a PACS.

        Raises:
            HTTPException: 502 if it does not answer, or not with a list.
        """
        try:
            return self._pages(self._client.search_for_series, _SERIES, filters)
        except PACS_ERRORS:
            raise refuse(502, "The DICOMweb server does not answer; nothing was done.") from None

    def _pages(
        self, ask: Callable[..., Any], tag: str, filters: Mapping[str, str], **more: Any
    ) -> list[dict[str, Any]]:
        """
        All pages of a search. The end is a page with nothing new: one that is short may be of a PACS that gives fewer
        than it is asked for, and one that is the same of a PACS that knows no pages.
        """
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        for _ in range(_MAX_PAGES):
            page = list(ask(search_filters=dict(filters), limit=_PAGE, offset=offset, **more))
            new = {text_of(item, tag): item for item in page if text_of(item, tag) not in found}
            new.pop("", None)
            found.update(new)
            offset += len(page)
            if not new:
                break
        return list(found.values())

    def listed(self, **filters: str) -> list[dict[str, Any]]:
        """
        :meth:`search`, repeated every few seconds at most, and once for all who ask at the same time; while one waits
        for a new list, the others have the old one.
        """
        key = repr(sorted(filters.items()))
        old = self._lists.get(key)
        if not self._listing.acquire(blocking=old is None):
            return list(old[1]) if old else []
        try:
            now = self._clock()
            if key not in self._lists or now > self._lists[key][0]:
                found = [series for series in self.search(**filters) if is_uid(text_of(series, _SERIES))]
                kept = max(_LISTED_SECONDS, _LISTED_TIMES * (self._clock() - now))
                self._lists[key] = (self._clock() + kept, found)
            return list(self._lists[key][1])
        finally:
            self._listing.release()

    def add_segmentation(self, study: str, uid: str, refers: str) -> None:
        """Count a reader's segmentation that was just stored, without asking for the list again."""
        with self._listing, self._looking:
            self._refers[uid] = refers
            key = repr(sorted({"Modality": "SEG"}.items()))
            if key in self._lists:
                told = {_STUDY: {"Value": [study]}, _SERIES: {"Value": [uid]}, _DESCRIPTION: {"Value": [READ]}}
                self._lists[key][1].append(told)

    def segmentations(self) -> list[tuple[dict[str, Any], str]]:
        """Readers' segmentations, each with the SeriesInstanceUID that it refers to."""
        # another's is told by its description, where the search gives one
        listed = [s for s in self.listed(Modality="SEG") if text_of(s, _DESCRIPTION) in (READ, "")]
        with self._looking:
            self._look_at([s for s in listed if self._to_be_looked_at(text_of(s, _SERIES))])
        return [(s, self._refers[text_of(s, _SERIES)]) for s in listed if self._refers.get(text_of(s, _SERIES))]

    def _to_be_looked_at(self, uid: str) -> bool:
        failed = self._failed.get(uid)
        return uid not in self._refers and (failed is None or self._clock() - failed > _AGAIN_SECONDS)

    def _look_at(self, unknown: list[dict[str, Any]]) -> None:
        if not unknown:
            return
        if len(unknown) > 1 and self._search_tells:
            self._look_at_all()
        left = [series for series in unknown if text_of(series, _SERIES) not in self._refers]
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            found = list(pool.map(self._look_at_one, left))
        failed = [text_of(series, _SERIES) for series, refers in zip(left, found) if refers is None]
        self._refers.update({text_of(s, _SERIES): refers for s, refers in zip(left, found) if refers is not None})
        self._failed = {uid: t for uid, t in self._failed.items() if uid not in self._refers}
        self._failed.update({uid: self._clock() for uid in failed})
        if failed:
            logger.warning("%d segmentations of the PACS could not be looked at; the others count.", len(failed))
        try:
            write_json(self._file, self._refers)
        except OSError as error:
            logger.error("What segmentations refer to could not be kept: %s.", error.strerror)

    def _look_at_all(self) -> None:
        """By one search, of a PACS that gives the sequence; one that does not is not asked so again."""
        fields = (_REFERENCED, _DESCRIPTION)
        try:
            found = self._pages(self._client.search_for_instances, "00080018", {"Modality": "SEG"}, fields=fields)
        except PACS_ERRORS:
            found = []
        told = {text_of(header, _SERIES): _referred(header) for header in found if _REFERENCED in header}
        self._search_tells = bool(told)
        self._refers.update({uid: refers for uid, refers in told.items() if is_uid(uid)})

    def _look_at_one(self, series: Mapping[str, Any]) -> str | None:
        """What one segmentation refers to; empty for another's than a reader's, None if it cannot be had."""
        try:
            study, uid = text_of(series, _STUDY), text_of(series, _SERIES)
            header = self._client.retrieve_series_metadata(study, uid)[0]
            return _referred(header)
        except PACS_ERRORS:
            return None


def _referred(header: Mapping[str, Any]) -> str:
    """The SeriesInstanceUID that a reader's segmentation refers to; of another's, nothing."""
    values = (header.get(_REFERENCED) or {}).get("Value") or [{}]
    uid = text_of(values[0], _SERIES)
    return uid if text_of(header, _DESCRIPTION) == READ and is_uid(uid) else ""
