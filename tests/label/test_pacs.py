# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Lists of a PACS that gives pages of its own size, tells little, or fails for some."""

from __future__ import annotations

import threading

import pytest
import requests

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException

from monai_cuas.io.dicom.statement import READ
from monai_cuas.label import pacs
from monai_cuas.label.pacs import Pacs


def uid(kind: int, number: int) -> str:
    return f"1.2.{kind}.{number}"


def header(series: str, description: str, refers: str | None = None) -> dict:
    told = {"0020000D": {"Value": ["1.2.9"]}, "0020000E": {"Value": [series]}, "0008103E": {"Value": [description]}}
    told["00080018"] = {"Value": [f"{series}.1"]}
    if refers is not None:
        told["00081115"] = {"Value": [{"0020000E": {"Value": [refers]}}]}
    return told


class Client:
    """A PACS of so many images and readers' segmentations of them."""

    def __init__(self, images=0, labels=0, most=10_000, pages=True, tells=False, broken=()) -> None:
        self.images = [header(uid(1, n), "FLAIR") for n in range(images)]
        self.labels = [header(uid(2, n), READ, uid(1, n)) for n in range(labels)]
        self.labels.append(header(uid(3, 0), "by another program", uid(1, images)))
        self.most, self.pages, self.tells, self.broken, self.asked = most, pages, tells, set(broken), []

    def _page(self, found, limit, offset):
        found = found[offset:] if self.pages else found
        return found[: min(limit, self.most) if self.pages else None]

    def search_for_series(self, search_filters, limit, offset):
        self.asked.append("series")
        found = self.labels if search_filters["Modality"] == "SEG" else self.images
        return self._page([{k: v for k, v in h.items() if k != "00081115"} for h in found], limit, offset)

    def search_for_instances(self, search_filters, limit, offset, fields):
        self.asked.append("instances")
        left = [h if self.tells else {k: v for k, v in h.items() if k != "00081115"} for h in self.labels]
        return self._page(left, limit, offset)

    def retrieve_series_metadata(self, study, series):
        self.asked.append("metadata")
        if series in self.broken:
            raise requests.HTTPError("500")
        return [h for h in self.labels if h["0020000E"]["Value"] == [series]]


def listed(store: Pacs) -> list[str]:
    return [s["0020000E"]["Value"][0] for s in store.listed(Modality="MR")]


@pytest.mark.parametrize("most", [10_000, 500, 100, 7])
@pytest.mark.parametrize("pages", [True, False])
def test_all_pages_are_read_whatever_their_size(tmp_path, most, pages):
    client = Client(images=1203, most=most, pages=pages)
    assert listed(Pacs(client, tmp_path / "kept")) == [uid(1, n) for n in range(1203)]
    assert len(client.asked) <= 1203 // min(most, 500) + 2


def test_a_list_is_asked_for_once_in_some_seconds(tmp_path):
    now = [0.0]
    client = Client(images=3)
    store = Pacs(client, tmp_path / "kept", lambda: now[0])
    for now[0] in (0.0, 1.0, 4.0):
        assert len(listed(store)) == 3
    assert len(client.asked) == 2  # one page, and the empty one after it
    now[0] = 20.0
    client.images.pop()
    assert len(listed(store)) == 2


def test_a_list_that_took_long_is_kept_longer(tmp_path):
    now, client = [0.0], Client(images=3)
    ask = client.search_for_series

    def slowly(**asked):
        now[0] += 6.0
        return ask(**asked)

    client.search_for_series = slowly
    store = Pacs(client, tmp_path / "kept", lambda: now[0])
    assert len(listed(store)) == 3  # 12 seconds
    now[0] += 100.0
    assert len(listed(store)) == 3
    assert len(client.asked) == 2
    now[0] += 30.0
    listed(store)
    assert len(client.asked) == 4


def test_while_one_waits_for_a_new_list_the_others_have_the_old_one(tmp_path):
    now, client = [0.0], Client(images=3)
    store = Pacs(client, tmp_path / "kept", lambda: now[0])
    assert len(listed(store)) == 3
    asked, go, ask = threading.Event(), threading.Event(), client.search_for_series

    def waits(**words):
        asked.set()
        assert go.wait(10)
        return ask(**words)

    client.search_for_series = waits
    client.images.pop()
    now[0] = 100.0
    found: list = []
    first = threading.Thread(target=lambda: found.extend(listed(store)))
    first.start()
    assert asked.wait(10)
    assert len(listed(store)) == 3
    go.set()
    first.join(10)
    assert len(found) == 2


def test_a_label_that_was_just_stored_counts_at_once(tmp_path):
    client = Client(images=3, labels=1)
    store = Pacs(client, tmp_path / "kept")
    assert [refers for _, refers in store.segmentations()] == [uid(1, 0)]
    asked = len(client.asked)
    store.add_segmentation("1.2.9", uid(2, 5), uid(1, 2))
    assert [refers for _, refers in store.segmentations()] == [uid(1, 0), uid(1, 2)]
    assert len(client.asked) == asked


def test_many_segmentations_need_one_search_where_the_pacs_tells(tmp_path):
    client = Client(images=300, labels=200, tells=True)
    found = Pacs(client, tmp_path / "kept").segmentations()
    assert {refers for _, refers in found} == {uid(1, n) for n in range(200)}
    assert client.asked.count("metadata") == 0
    assert client.asked.count("instances") == 2


def test_each_segmentation_is_asked_for_once_ever_where_it_does_not(tmp_path):
    client = Client(images=30, labels=20)
    for _ in range(2):  # a second server, after a start, has the file
        store = Pacs(client, tmp_path / "kept")
        store.forget()
        assert len(store.segmentations()) == 20
        store.forget()
        assert len(store.segmentations()) == 20
    assert client.asked.count("metadata") == 20
    (tmp_path / "kept").write_text('{"1.2.2.0": 3, "x": "y"')
    assert len(Pacs(client, tmp_path / "kept").segmentations()) == 20


def test_one_that_fails_keeps_nobody_from_the_others(tmp_path, caplog):
    now = [0.0]
    client = Client(images=30, labels=20, broken=[uid(2, 3), uid(2, 4)])
    client.labels.append({"0020000E": {"Value": ["no uid; $"]}, "0008103E": {"Value": [READ]}})
    client.labels.append({"0008103E": "nonsense", "0020000E": {"Value": [uid(2, 77)]}})
    store = Pacs(client, tmp_path / "kept", lambda: now[0])
    assert {refers for _, refers in store.segmentations()} == {uid(1, n) for n in range(20) if n not in (3, 4)}
    assert "2 segmentations of the PACS could not be looked at" in caplog.text
    asked = len(client.asked)
    now[0] = 10.0
    assert len(store.segmentations()) == 18
    assert client.asked[asked:].count("metadata") == 0
    client.broken.clear()
    now[0] = 1000.0
    assert len(store.segmentations()) == 20


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.HTTPError(), ValueError("no JSON")])
def test_a_pacs_that_does_not_answer_is_said(tmp_path, error):
    client = Client()

    def fails(**_):
        raise error

    client.search_for_series = fails
    with pytest.raises(HTTPException, match="does not answer") as caught:
        Pacs(client, tmp_path / "kept").listed(Modality="MR")
    assert caught.value.status_code == 502


def test_nothing_is_waited_for_without_end(monkeypatch):
    said = {}
    monkeypatch.setattr(requests.Session, "request", lambda self, *args, **kwargs: said.update(kwargs))
    client = pacs.client_of("http://127.0.0.1:9/dicom-web")
    client._session.request("GET", "http://127.0.0.1:9")
    assert said["timeout"] == (10.0, 60.0)
