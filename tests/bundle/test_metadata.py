# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What MONAI and the model zoo ask of the bundle's files, checked without a network."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from monai.bundle import verify_metadata
from monai.bundle.workflows import _reject_executable_logging_config

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "cuas"
METADATA = BUNDLE / "configs" / "metadata.json"
REQUIRED = {
    **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version"), str),
    **dict.fromkeys(("task", "description", "authors", "copyright", "name"), str),
    **dict.fromkeys(("required_packages_version", "network_data_format", "changelog", "supported_apps"), dict),
}
TENSOR = {"type": str, "format": str, "num_channels": int, "spatial_shape": list, "dtype": str, "value_range": list}


@pytest.fixture(scope="module")
def metadata() -> dict:
    return json.loads(METADATA.read_text())


def test_schema_of_monai():
    """The schema is a download; set the variable to a copy of the file that the metadata names."""
    schema = os.environ.get("MONAI_CUAS_META_SCHEMA")
    if not schema:
        pytest.skip("needs a copy of meta_schema_20240725.json, named by MONAI_CUAS_META_SCHEMA")
    pytest.importorskip("jsonschema")
    verify_metadata(meta_file=str(METADATA), filepath=schema)


def test_required_keys_and_types(metadata):
    assert {key: type(metadata.get(key)) for key in REQUIRED} == REQUIRED
    assert metadata["schema"].endswith("/meta_schema_20240725.json")
    assert metadata["version"] in metadata["changelog"]
    versions = [metadata[f"{p}version"] for p in ("", "monai_", "pytorch_", "numpy_")]
    for version in (*versions, *metadata["required_packages_version"].values()):
        assert re.fullmatch(r"\d+(\.\d+)*", version)
    # the zoo installs each entry from PyPI
    assert not {"monai_cuas", "monai-cuas"} & metadata["required_packages_version"].keys()


def test_tensors(metadata):
    formats = metadata["network_data_format"]
    assert set(formats) == {"inputs", "outputs", "post_processed_outputs"}
    assert "image" in formats["inputs"]
    assert "pred" in formats["outputs"]
    for tensor in (t for group in formats.values() for t in group.values()):
        assert {key: type(tensor.get(key)) for key in TENSOR} == TENSOR
        assert all(isinstance(n, (int, str)) for n in tensor["spatial_shape"])
        assert all(isinstance(n, (int, float)) for n in tensor["value_range"])
        assert isinstance(tensor["channel_def"], dict)


def test_network_of_the_metadata_is_that_of_the_config(metadata):
    config = json.loads((BUNDLE / "configs" / "train.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [config["image_size"]] * 2
    assert image["num_channels"] == config["in_channels"]


def test_logging_config_passes_the_screen():
    content = _reject_executable_logging_config(str(BUNDLE / "configs" / "logging.conf"))
    assert "args=()" in content


def test_files_of_a_bundle():
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/train.json", "configs/inference.json"):
        assert (BUNDLE / name).stat().st_size > 0
    assert (BUNDLE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    readme = (BUNDLE / "docs" / "README.md").read_text().lower()
    for part in ("overview", "data", "preprocessing", "training config", "input and output", "performance", "commands"):
        assert f"\n## {part}\n" in readme
    for part in ("limitations", "references"):
        assert f"\n## {part}\n" in readme


def test_no_shipped_file_is_too_large():
    made_here = {"phantom", "runs", "output"}
    files = [f for f in BUNDLE.rglob("*") if f.is_file() and not made_here & set(f.relative_to(BUNDLE).parts)]
    assert max(f.stat().st_size for f in files) < 25_000_000
