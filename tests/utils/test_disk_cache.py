# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import time

import pytest

from monai_cuas.cli import main
from monai_cuas.utils.disk_cache import cached_files, find_caches, mark_cache, shrink_cache, used


def _write(folder, number: int, hours: float, size: int = 1000):
    """A cached file that was used so long ago."""
    path = folder / "slices" / f"{number:064x}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "run" / "cache"
    mark_cache(folder)
    return folder


def test_the_longest_unused_go_first(cache):
    paths = [_write(cache, n, hours=10 - n) for n in range(4)]
    used(paths[0])
    assert shrink_cache(cache, 2500e-9) == [str(paths[1]), str(paths[2])]
    assert [file.path for file in cached_files(cache)] == [str(paths[3]), str(paths[0])]
    assert shrink_cache(cache, 2500e-9) == []


def test_what_is_in_use_stays_and_is_told(cache, caplog):
    old, new = _write(cache, 0, hours=5), _write(cache, 1, hours=0.2)
    assert shrink_cache(cache, 0.0) == [str(old)]
    assert new.exists()
    assert "more than the limit" in caplog.text
    assert shrink_cache(cache, 0.0, keep_used=False) == [str(new)]


def test_nothing_but_what_a_cache_made_is_removed(cache, tmp_path):
    scan = cache / "slices" / "scan.pt"
    _write(cache, 0, hours=5)
    scan.write_text("mine")
    unmarked = _write(tmp_path / "other", 1, hours=5)
    assert find_caches(tmp_path) == [str(cache)]
    shrink_cache(tmp_path / "other", 0.0, keep_used=False)
    assert main(["cache", str(tmp_path), "--clear"]) == 0
    assert scan.exists()
    assert unmarked.exists()
    assert cached_files(cache) == []


def test_the_command_lists_shrinks_and_clears(cache, tmp_path, capsys):
    paths = [_write(cache, n, hours=9 - n, size=10**6) for n in range(3)]
    assert main(["cache", str(tmp_path)]) == 0
    assert f"{cache}: 3.0 MB in 3 files" in capsys.readouterr().out
    assert main(["cache", str(tmp_path), "--limit_gb", "0.002"]) == 0
    assert "2.0 MB in 2 files" in capsys.readouterr().out
    assert not paths[0].exists()
    assert main(["cache", str(tmp_path), "--clear"]) == 0
    assert "0.0 MB in 0 files" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["cache", str(empty)]) == 0
    assert "no cache" in capsys.readouterr().out
    assert main(["cache", str(tmp_path / "nowhere")]) == 1
    assert main(["cache", str(tmp_path), "--limit_gb", "-1"]) == 1
    assert "at least 0" in capsys.readouterr().err
