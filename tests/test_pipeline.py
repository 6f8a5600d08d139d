# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import shutil

import pytest

from monai_cuas import load_model
from monai_cuas.utils import CUASError, ScanError

from .bundle.conftest import BUNDLE

SHIPPED = BUNDLE / "models" / "model.pt"


def _sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_a_model_is_named_by_the_file_that_was_read(tmp_path):
    """A result must not carry the digest of weights that replaced its own meanwhile."""
    file = tmp_path / "model.pt"
    shutil.copyfile(SHIPPED, file)
    model = load_model(file, "cpu")
    file.write_bytes(b"other weights")
    assert model.digest == _sha256(SHIPPED)


def test_saving_a_calibration_gives_another_digest(tmp_path):
    file = tmp_path / "model.pt"
    shutil.copyfile(SHIPPED, file)
    model = load_model(file, "cpu")
    model.save({"n_scans": 3})
    assert model.digest == _sha256(file) != _sha256(SHIPPED)
    assert load_model(file, "cpu").calibration["n_scans"] == 3


def test_a_missing_path_is_one_sentence(tmp_path):
    with pytest.raises(CUASError, match="Give the path"):
        load_model()
    with pytest.raises(ScanError, match="there is no such weights file"):
        load_model(tmp_path / "none.pt")
