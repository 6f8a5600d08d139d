# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A process that works for the server ends with it, however that ends, and changes nothing afterwards."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["SERVER_VARIABLE", "end_with_the_server", "is_server", "server_lives"]

SERVER_VARIABLE = "MONAI_CUAS_SERVER_PID"
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5


def is_server() -> None:
    """Tell processes that are started from here on whose they are."""
    os.environ[SERVER_VARIABLE] = str(os.getpid())


def _server() -> int | None:
    """The server's process, seen from one that it started; None in the server itself or without one."""
    told = os.environ.get(SERVER_VARIABLE, "")
    return int(told) if told.isdigit() and int(told) != os.getpid() else None


def server_lives() -> bool:
    """Whether the server that this process works for, if it works for one, is still its parent."""
    server = _server()
    return server is None or os.getppid() == server


def end_with_the_server() -> None:
    """Let this process be killed when the server that started it ends; nothing in the server itself."""
    if "start_server" in sys.argv:
        # A server by MONAI Label's own command: the number that it inherited, from a notebook say, is of another one.
        os.environ.pop(SERVER_VARIABLE, None)
    if _server() is None:
        return
    if sys.platform.startswith("linux"):
        # by the kernel, at once; the thread below is for systems without, and for a server that is gone already
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, name="server-watch", daemon=True).start()


def _watch() -> None:
    while server_lives():
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
