# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI Label in this process; the tests are skipped where it is not installed (see docs/how-to/hospital.md)."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pytest
import torch

# Read once, when monailabel is imported.
os.environ["MONAI_LABEL_SESSION_PATH"] = tempfile.mkdtemp(prefix="sessions-")
os.environ["MONAI_LABEL_AUTO_UPDATE_SCORING"] = "false"
os.environ["MONAI_LABEL_DATASTORE_AUTO_RELOAD"] = "false"
# Left by an app in the tests that started these in a namespace of their own.
os.environ.pop("MONAI_CUAS_SERVER_PID", None)

# Before the tests import monailabel.
import monai_cuas.label  # noqa: F401
from monai_cuas.recipe import read_recipe

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "cuas"


def default_network() -> torch.nn.Module:
    """The network of the shipped weights, untrained."""
    return read_recipe(BUNDLE / "models" / "model.pt").make_network()


@pytest.fixture(scope="session", autouse=True)
def quiet_logging():
    """monailabel logs each transform of each request."""
    logging.getLogger("monailabel").setLevel(logging.WARNING)
