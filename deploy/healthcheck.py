# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
The container's health: 0 if the server answers and its weights can be used, 1 if not; what is said is printed.

It imports nothing of the package, as it runs twice a minute.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

# below HEALTHCHECK's own timeout, so that a sentence is left
_SECONDS = 8


def main() -> int:
    address = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/health"
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            print(answer.read(1000).decode())
            return 0
    except urllib.error.HTTPError as error:
        print(error.read(1000).decode(errors="replace"))
    except OSError as error:
        print(f"The server does not answer ({type(error).__name__}).")
    return 1


if __name__ == "__main__":
    sys.exit(main())
