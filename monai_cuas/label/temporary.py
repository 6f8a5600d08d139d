# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""One folder for all that the server writes for a while: nobody else reads it, and a new start empties it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO

from ..utils import CUASError

__all__ = ["TEMPORARY_VARIABLE", "own_temporary_folder"]

TEMPORARY_VARIABLE = "MONAI_CUAS_TMP"
_LOCK = ".lock"
_held: list[IO[str]] = []


def own_temporary_folder(app_dir: str | os.PathLike) -> Path:
    """
    Make a folder of mode 700, empty it, and let everything temporary of this process and its children go there.

    What a server that was killed left behind, uploads and downloads of patients, is removed by its next start. A folder
    that a running server uses is not touched: the next number is taken.

    Args:
        app_dir: of the app; servers of other apps have other folders.

    Returns:
        The folder: below ``MONAI_CUAS_TMP``, or the system's folder for temporary files.

    Raises:
        CUASError: if a folder of that name is somebody else's.
    """
    root = Path(os.environ.get(TEMPORARY_VARIABLE) or tempfile.gettempdir())
    app = hashlib.sha256(os.fsencode(os.path.abspath(app_dir))).hexdigest()[:8]
    for number in range(100):
        folder = root / f"monai_cuas-{os.getuid()}-{app}-{number}"
        if _claimed(folder):
            break
    else:
        raise CUASError(f"{root}: 100 servers of this app have their folders for temporary files here.")
    for left in folder.iterdir():
        if left.name != _LOCK:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _claimed(folder: Path) -> bool:
    """Make a folder this process's, as long as it lives; False if another process has it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise CUASError(f"{folder}: this is not the server's own folder; name another place by {TEMPORARY_VARIABLE}.")
    folder.chmod(0o700)
    lock = open(folder / _LOCK, "w", encoding="utf-8")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _held.append(lock)
    return True
