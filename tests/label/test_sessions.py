# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Scans that are uploaded for a while: found after a start, gone when they are old, and no name of a file is a path."""

from __future__ import annotations

import json
import os
import time

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException

from monai_cuas.label.requests import own_words, parse_params
from monai_cuas.label.sessions import CheckedSessions


@pytest.fixture
def kept(tmp_path):
    """A session of a server that has ended."""
    scan = tmp_path / "a.nii.gz"
    scan.write_bytes(b"scan")
    name, _ = CheckedSessions(str(tmp_path / "kept"), 100).add_session(str(scan))
    return name


def test_a_session_is_found_after_a_start_and_removed_when_it_is_old(tmp_path, kept):
    sessions = CheckedSessions(str(tmp_path / "kept"), 100)
    assert sessions
    assert sessions.get_session(kept).name == kept
    assert sessions.remove_expired() == 0
    file = tmp_path / "kept" / kept / "meta.info"
    file.write_text(json.dumps({**json.loads(file.read_text()), "last_access_ts": time.time() - 1000}))
    assert CheckedSessions(str(tmp_path / "kept"), 100).remove_expired() == 1
    assert not (tmp_path / "kept" / kept).exists()


@pytest.mark.parametrize("written", [None, "", "{", '{"image": null}', "[1]"])
def test_what_a_killed_server_left_stops_nothing_and_goes(tmp_path, kept, written):
    half = tmp_path / "kept" / "half"
    half.mkdir()
    (half / "a.nii.gz").write_bytes(b"of a patient")
    if written is not None:
        (half / "meta.info").write_text(written)
    (tmp_path / "kept" / "no id").mkdir()
    (tmp_path / "kept" / "link").symlink_to(tmp_path)
    sessions = CheckedSessions(str(tmp_path / "kept"), 100)
    assert sessions.get_session("half") is None
    os.utime(half, (time.time() - 1000,) * 2)
    assert sessions.remove_expired() >= 0
    assert not half.exists()
    assert sessions.get_session(kept) is not None
    assert tmp_path.exists()


@pytest.mark.parametrize("name", ["..", "a/b", "x" * 256, "a\0b", ""])
def test_a_name_is_no_path(tmp_path, name):
    sessions = CheckedSessions(str(tmp_path / "kept"), 100)
    for ask in (sessions.get_session, sessions.remove_session):
        with pytest.raises(HTTPException) as error:
            ask(name)
        assert error.value.status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": [-Infinity]}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": %s}' % ("9" * 5000),
    ]
    + ["[" * 50_000, '{"a":' * 40 + "1" + "}" * 40, '{"a":' * 5000 + "1" + "}" * 5000, " " * (2**21 + 1)],
)
def test_what_no_file_could_hold_again_is_refused(text):
    with pytest.raises(HTTPException) as error:
        parse_params(text)
    assert error.value.status_code == 400
    assert len(error.value.detail) < 200


def test_the_servers_own_words_are_not_a_clients():
    assert own_words('{"read": "twice", "deep": [{"a": [1]}]}') == {"read": "twice", "deep": [{"a": [1]}]}
    for name in ("monai_cuas", "strategy", "by", "user", "ts"):
        with pytest.raises(HTTPException, match=name):
            own_words(json.dumps({name: {"score": 1e9}}))
