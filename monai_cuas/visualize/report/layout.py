# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What all reports have in common: one page, that holds all it shows and may ask for nothing."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from ...utils import printable, replacing

__all__ = ["picture", "table", "text", "write_page"]


def text(value: object) -> str:
    """Return anything as text that is only text in HTML; None is empty."""
    return escape(printable("" if value is None else str(value)))


def picture(path: Path, name: str, missing: str) -> str:
    """
    Args:
        path: PNG file.
        name: what it shows, for those who do not see it.
        missing: said where there is no such file.

    Returns:
        The picture, held by the page itself.
    """
    if not path.is_file():
        return f"<p>{text(missing)}</p>"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{text(name)}" src="data:image/png;base64,{data}">'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    """
    Args:
        heads: above the columns, plain text.
        rows: cells, HTML already.
        name: the table's id.

    Returns:
        The table.
    """
    above = "".join(f"<th>{text(head)}</th>" for head in heads)
    lines = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table id="{text(name)}"><thead><tr>{above}</tr></thead><tbody>\n{lines}\n</tbody></table>'


def write_page(path: str | os.PathLike, title: str, body: Iterable[str], scripts: Sequence[str] = ()) -> Path:
    """
    Write a report. Scripts run by a number that is drawn anew, so nothing that a text smuggles in could.

    Args:
        path: HTML file to write.
        title: plain text.
        body: HTML, every text in it from :func:`text`; part by part, as pictures of thousands of scans are more than
            memory should hold.
        scripts: JavaScript.

    Returns:
        The page's path.
    """
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    before, _, after = template.partition("$body")
    filled = {"title": text(title), "script": "\n".join(scripts), "nonce": secrets.token_urlsafe(16)}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(Template(before).substitute(filled))
        for part in body:
            file.write(part + "\n")
        file.write(Template(after).substitute(filled))
    return Path(path)
