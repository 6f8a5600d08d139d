# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What the server writes for a while lies in one folder of its own, which the next start empties."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile

import pytest

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

from monai_cuas.label import temporary
from monai_cuas.utils import CUASError

TAKE = """
import sys, tempfile
from monai_cuas.label.temporary import own_temporary_folder
print(own_temporary_folder(sys.argv[1]), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv(temporary.TEMPORARY_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(temporary, "_held", [])
    return tmp_path


def test_it_is_private_emptied_and_used_by_all_that_is_temporary(root):
    folder = temporary.own_temporary_folder("app")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(folder)
    (folder / "cuas-left").mkdir()
    (folder / "cuas-left" / "upload.nii.gz").write_bytes(b"patient")
    (folder / "left.zip").symlink_to(root / "elsewhere")
    (root / "elsewhere").write_text("stays")
    temporary._held.pop().close()  # as the end of the process does
    assert temporary.own_temporary_folder("app") == folder
    assert sorted(os.listdir(folder)) == [".lock"]
    assert (root / "elsewhere").read_text() == "stays"
    assert temporary.own_temporary_folder("another app") != folder


def test_a_running_servers_folder_is_left_alone(root):
    other = subprocess.Popen([sys.executable, "-c", TAKE, "app"], stdin=-1, stdout=-1, text=True)
    taken = other.stdout.readline().strip()
    open(f"{taken}/in_use", "w").close()
    assert str(temporary.own_temporary_folder("app")) != taken
    assert os.path.exists(f"{taken}/in_use")
    other.kill()
    other.wait()
    assert str(temporary.own_temporary_folder("app")) == taken
    assert not os.path.exists(f"{taken}/in_use")


def test_a_link_in_its_place_is_refused(root):
    folder = temporary.own_temporary_folder("app")
    temporary._held.pop().close()
    (folder / ".lock").unlink()
    folder.rmdir()
    folder.symlink_to(root)
    with pytest.raises(CUASError, match="not the server's own folder"):
        temporary.own_temporary_folder("app")
