# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_cuas.label start_server ...``: MONAI Label's command with this package's routes, for this host."""

from __future__ import annotations

import sys


def main() -> None:
    """Pass the command line on; what is not said is set to the safe choice."""
    from monailabel.main import Main

    if "start_server" in sys.argv[1:]:
        given = {argument.split("=")[0] for argument in sys.argv}
        if "--uvicorn_app" not in given:
            sys.argv += ["--uvicorn_app", "monai_cuas.label.server:app"]
        if not given & {"-i", "--host"}:
            sys.argv += ["--host", "127.0.0.1"]
    Main().run()


if __name__ == "__main__":
    main()
