# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A line of requests has an end, and what runs at once is bounded."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("fastapi", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from fastapi import HTTPException

from monai_cuas.label.line import Line


def _crowd(line, n):
    """Let n threads ask for a turn at once; how many ran, the most that ran at once, how many were refused."""
    ran, refused, now, most = [], [], [], []
    arrived, go = threading.Barrier(n + 1), threading.Event()

    def ask():
        arrived.wait()
        try:
            with line.turn():
                now.append(1)
                most.append(len(now))
                go.wait(5)
                now.pop()
                ran.append(1)
        except HTTPException as error:
            refused.append(error.status_code)
            if len(refused) == n - 3:
                go.set()

    threads = [threading.Thread(target=ask) for _ in range(n)]
    for thread in threads:
        thread.start()
    arrived.wait()
    for thread in threads:
        thread.join(20)
    return len(ran), max(most), refused


def test_some_run_some_wait_and_more_are_refused():
    assert _crowd(Line(running=1, waiting=2), 8) == (3, 1, [429] * 5)
    assert _crowd(Line(running=2, waiting=1), 8) == (3, 2, [429] * 5)


def test_what_was_let_in_already_waits_beside_a_full_line():
    line, inside, go, ran = Line(running=1, waiting=0), threading.Event(), threading.Event(), []

    def first():
        with line.turn():
            inside.set()
            go.wait(10)
            ran.append("first")

    def batch():
        with line.turn(refuse_when_full=False):
            ran.append("batch")

    threads = [threading.Thread(target=work) for work in (first, batch)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    with pytest.raises(HTTPException), line.turn():
        pass
    go.set()
    for thread in threads:
        thread.join(10)
    assert ran == ["first", "batch"]
    with line.turn():  # the places are as many as before
        pass


def test_a_turn_within_a_turn_is_the_same_and_a_failure_gives_it_back():
    line = Line(running=1, waiting=0)
    with line.turn(), line.turn():
        pass
    for _ in range(3):
        with pytest.raises(RuntimeError), line.turn():
            raise RuntimeError
    with line.turn():
        pass


def test_a_full_line_is_no_fault_of_the_scan_that_was_to_be_scored(monkeypatch):
    pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")
    from monai_cuas.label import reading

    class Store:
        kept: dict = {}

        def get_image_info(self, image):
            return self.kept

        def update_image_info(self, image, info):
            self.kept.update(info)

        def json(self):
            return {"objects": {"a": {}}}

        def get_image_uri(self, image):
            raise HTTPException(404, "It is gone.")

    class Model:
        def model(self):
            return type("Weights", (), {"digest": "w"})

    full = Line(running=1, waiting=0)
    monkeypatch.setattr(reading, "heavy", full)
    ready, done = threading.Event(), threading.Event()

    def occupy():
        with full.turn():
            ready.set()
            done.wait(10)

    other = threading.Thread(target=occupy)
    other.start()
    ready.wait(10)
    with pytest.raises(HTTPException) as error:
        reading.score_image(Model(), Store(), "a")
    assert error.value.status_code == 429
    assert Store.kept == {}
    done.set()
    other.join()
    assert reading.score_image(Model(), Store(), "a") == {"failed": "It is gone.", "weights": "w"}
    assert Store.kept[reading.INFO_KEY]["failed"] == "It is gone."
