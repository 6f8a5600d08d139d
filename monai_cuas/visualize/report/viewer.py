# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""NiiVue in a page: taken from an installed package when the page is written, with the volumes of its scans."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ...utils import CUASError, printable

__all__ = ["ShownScan", "has_viewer", "viewer_block"]

_PACKAGE = "ipyniivue"
# The package's module gives its widget alone. The class of the viewer is named where the widget makes one of it.
_CLASS = re.compile(r"Creating new Niivue instance.{0,300}?=new ([\w$]+)\(", re.DOTALL)
_EXPORT = re.compile(r"export\s*\{[^{}]*\};?\s*$")
# a page of more than this takes a browser too long to open
_MOST_BYTES = 150_000_000


class ShownScan(NamedTuple):
    """
    A scan of the viewer.

    Attributes:
        name: what stands above it.
        volumes: what :func:`.volumes.write_volumes` wrote; the file may be missing.
    """

    name: str
    volumes: Path


def has_viewer() -> bool:
    """Whether a package that carries the viewer is installed, so that volumes are worth keeping."""
    return find_spec(_PACKAGE) is not None


def _niivue() -> tuple[str, str]:
    """
    Returns:
        The viewer's code as a module that leaves its class as ``reportNiivue``, and its licence.

    Raises:
        CUASError: if it is not installed, or not as it is known here.
    """
    try:
        package = metadata.distribution(_PACKAGE)
        code = Path(str(package.locate_file(f"{_PACKAGE}/static/widget.js"))).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError) as error:
        raise CUASError("a viewer comes with pip install 'monai_cuas[report]'.") from error
    name, export = _CLASS.search(code), _EXPORT.search(code)
    if name is None or export is None:
        raise CUASError(f"the viewer in {_PACKAGE} {package.version} is not known; pip install 'monai_cuas[report]'.")
    licence = next((str(file.read_text()) for file in package.files or () if file.name.startswith("LICENSE")), "")
    return f"{code[: export.start()]};globalThis.reportNiivue={name[1]};", licence


def viewer_block(scans: Sequence[ShownScan]) -> tuple[str, str]:
    """
    Args:
        scans: in the order of the page's ``section.scan``.

    Returns:
        The viewer's HTML with all that it shows, and its script.

    Raises:
        CUASError: if no viewer is installed.
    """
    code, licence = _niivue()
    room, entries, blocks = _MOST_BYTES, [], []
    for k, (name, path) in enumerate(scans):
        size = path.stat().st_size if path.is_file() else 0
        why = "" if size else "Its volumes were not kept: infer it again for the viewer."
        if size > room:
            why = "Its volumes would make this page too large; open its map and mask in a viewer."
        if not why:
            room -= size
            blocks.append(_data(f"volumes{k}", path.read_text(encoding="utf-8")))
        entries.append({"name": printable(name), "why": why})
    if not blocks:
        raise CUASError("the volumes were not kept: infer the scans again for a viewer.")
    packed = base64.b64encode(gzip.compress(code.encode(), 6, mtime=0)).decode("ascii")
    notice = _data("niivue-licence", json.dumps(licence))
    data = [_data("viewer-scans", json.dumps(entries)), notice, _data("niivue", packed), *blocks]
    html = files(__package__).joinpath("viewer.html").read_text(encoding="utf-8")
    return html + "\n".join(data), files(__package__).joinpath("viewer.js").read_text(encoding="utf-8")


def _data(name: str, content: str) -> str:
    """A block that a browser does not run; in JSON, < can only stand in a text, where its escape means the same."""
    return f'<script type="application/json" id="{name}">' + content.replace("<", "\\u003c") + "</script>"
