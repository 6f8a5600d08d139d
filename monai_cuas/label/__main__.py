# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas.label start_server ...``: MONAI Label's command with this package's routes, for this host."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

# of glibc's malloc.h
_M_ARENA_MAX = -8


def _share_memory() -> None:
    """
    Let threads share two pools of memory.

    Requests are answered in 40 threads, and glibc gives each a pool that keeps what was freed in it: with scans in them
    the server grew for as long as new threads took their turn. Elsewhere than on glibc nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def main() -> None:
    """Pass the command line on; what is not said is set to the safe choice."""
    from monailabel.main import Main

    from .lifeline import SERVER_VARIABLE

    if "start_server" in sys.argv[1:]:
        # What starts here is a server, though another one's number may be in what it inherits: it would end itself.
        os.environ.pop(SERVER_VARIABLE, None)
        _share_memory()
        given = {argument.split("=")[0] for argument in sys.argv}
        if "--uvicorn_app" not in given:
            sys.argv += ["--uvicorn_app", "monai_cuas.label.server:app"]
        if not given & {"-i", "--host"}:
            sys.argv += ["--host", "127.0.0.1"]
    Main().run()


if __name__ == "__main__":
    main()
