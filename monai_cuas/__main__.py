# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the command line: ``python -m monai_cuas <command>``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
