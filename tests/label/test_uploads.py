# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""How much of requests is taken: in bytes, in time, and at once."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas.label import uploads
from monai_cuas.label.uploads import MAX_UPLOAD_VARIABLE, UPLOADS_VARIABLE, LimitBody

UPLOAD = (b"content-type", b"multipart/form-data; boundary=b")


async def _reads_all(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _ask(layer, headers, parts, path="/x"):
    """Status of the answer to a body of parts, or of the refusal that ended it."""
    sent, left = [], list(parts)

    async def receive():
        if callable(left[0]):
            await left.pop(0)()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    try:
        await layer({"type": "http", "path": path, "headers": headers}, receive, send)
    except uploads.HTTPException as error:
        return error.status_code
    return sent[0]["status"]


def test_what_is_no_upload_is_short_as_it_stays_in_memory():
    layer, plain = LimitBody(_reads_all), (b"content-type", b"application/json")
    length = (b"content-length", str(3 * 2**20).encode())
    assert asyncio.run(_ask(layer, [plain, length], [b""])) == 413
    assert asyncio.run(_ask(layer, [plain], [bytes(2**20)] * 3)) == 413
    assert asyncio.run(_ask(layer, [UPLOAD, length], [bytes(2**20)] * 3)) == 200


def test_a_length_that_is_none_or_beyond_all_bounds(monkeypatch):
    monkeypatch.setenv(MAX_UPLOAD_VARIABLE, "1")
    layer = LimitBody(_reads_all)
    for length in (b"-1", b"x", b"9" * 5000, b"1e3", "²".encode()):
        assert asyncio.run(_ask(layer, [UPLOAD, (b"content-length", length)], [b""])) == 413
    assert asyncio.run(_ask(layer, [], [b""], "/a/../b")) == 400


def test_large_uploads_have_places_that_are_given_back(monkeypatch):
    monkeypatch.setenv(UPLOADS_VARIABLE, "2")
    layer = LimitBody(_reads_all)
    large = [UPLOAD, (b"content-length", str(2**21).encode())]

    async def three() -> list[int]:
        gone = asyncio.Event()

        async def waits():
            await gone.wait()

        held = [asyncio.create_task(_ask(layer, large, [waits, b""])) for _ in range(2)]
        await asyncio.sleep(0)
        third, small = await _ask(layer, large, [b""]), await _ask(layer, [UPLOAD], [b""])
        gone.set()
        return [third, small, *(await asyncio.gather(*held)), await _ask(layer, large, [b""])]

    assert asyncio.run(three()) == [429, 200, 200, 200, 200]
    assert layer.uploads == 0


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(uploads, "_UPLOAD_SECONDS", 0.05)
    layer = LimitBody(_reads_all)

    async def never():
        await asyncio.sleep(5)

    assert asyncio.run(_ask(layer, [UPLOAD, (b"transfer-encoding", b"chunked")], [never, b""])) == 408
    assert layer.uploads == 0
    # what is small has less time
    monkeypatch.setattr(uploads, "_UPLOAD_SECONDS", 5)
    monkeypatch.setattr(uploads, "_SMALL_SECONDS", 0.05)
    for headers in ([], [UPLOAD], [UPLOAD, (b"content-length", b"1000")]):
        assert asyncio.run(_ask(layer, headers, [never, b""])) == 408


def test_two_lengths_are_refused():
    """A proxy that believes the other one would take what follows for a second request."""
    both = [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")]
    for more in ([], [UPLOAD]):
        assert asyncio.run(_ask(LimitBody(_reads_all), [*both, *more], [b""])) == 400
