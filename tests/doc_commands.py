# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The commands that the documents show, as a shell would take them apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bundles" / "cuas" / "docs").glob("*.md")])
_MARK = re.compile(r"<!-- not run here: (.+?) -->\s*$")
_PROGRAM = re.compile(r"^(?:python -m )?(?:monai_cuas|monai\.bundle)\b")


class Block(NamedTuple):
    """A fenced block.

    Args:
        page: where it stands.
        language: of the fence; empty: shell or a drawing.
        text: within the fence.
        mark: of what it needs that no test has, by the comment ``not run here`` before it; empty: nothing.
    """

    page: Path
    language: str
    text: str
    mark: str


class Command(NamedTuple):
    """A command of a page, without the shell's part."""

    page: Path
    words: tuple[str, ...]
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, flags=re.S | re.M):
        mark = _MARK.search(text[: found.start()])
        yield Block(page, found.group(2), found.group(3), mark.group(1) if mark else "")


def _lines(text: str) -> Iterator[list[str]]:
    """Words of each line, joined where a backslash ends it, without comments."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words = list(lexer)
        if words:
            yield words


def split(text: str) -> Iterator[tuple[str, ...]]:
    """Commands of a block, with its variables (of a loop the first value) put in."""
    variables: dict[str, str] = {}

    def fill(word: str) -> str:
        return re.sub(r"\$(\w+)", lambda found: variables.get(found.group(1), found.group(0)), word)

    for line in _lines(text):
        part: list[str] = []
        for word in [*line, ";"]:
            if word not in (";", "&&", "||", "|", "&"):
                part.append(fill(word))
                continue
            if part[:1] == ["for"]:
                variables[part[1]] = part[3]
                part = []
            while part and part[0] in ("do", "done", "then", "export"):
                part.pop(0)
            while part and re.match(r"^\w+=", part[0]):
                name, _, value = part.pop(0).partition("=")
                variables[name] = value
            if part:
                yield tuple(part)
            part = []


def commands(page: Path) -> Iterator[Command]:
    """
    Commands of a page: of fenced blocks, and within sentences those of this package's programs.

    Where a page says what its commands begin with, code that starts with an option is the rest of one.
    """
    for block in blocks(page):
        if block.language in ("", "sh", "bash") and not re.search("[─►]", block.text):
            for words in split(block.text):
                yield Command(page, words, block.mark)
    prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    start = re.search(r"begins with `([^`]+)`", prose)
    for code in inline(prose):
        if start and code.startswith("--layout ") and " --input " in code:
            code = f"{start.group(1)} {code}"
        elif not _PROGRAM.match(code) or " --" not in code or (start and code == start.group(1)):
            continue
        for words in split(code):
            yield Command(page, words, "")


def inline(prose: str) -> list[str]:
    """Code within sentences; it may go over the end of a line."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
