# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
Every command of the documents can be typed: a test runs it (``tests/test_doc_pages.py``), or its options are those
that the program has, or a comment before its block, ``<!-- not run here: WHY -->``, says what it needs.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path

import monai.bundle
import pytest
import yaml
from monai.bundle import ConfigParser

from monai_cuas.bundle import DEFAULT_METHOD, check_overrides, method_overlays, parse_overrides, refuse_unknown
from monai_cuas.cli import build_parser

from .doc_commands import PAGES, ROOT, Command, blocks, commands, inline, split

CONFIGS = ROOT / "bundles" / "cuas" / "configs"
PARSERS = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
ALL = [command for page in PAGES for command in commands(page)]
# configs that a command is a front of
FRONTS = {
    "infer": ["inference.json", "dicom_seg.json"],
    "train": ["train.json"],
    "calibrate": ["inference.json", "calibrate.json"],
    "evaluate": ["inference.json", "evaluate.json"],
}
# programs of other projects: nothing of ours can be renamed in them
FOREIGN = {"cd", "curl", "mkdocs", "mypy", "pytest", "ruff", "git", "mv", "unzip"}
LABEL = {"--app", "--studies", "--conf"}
# settings of the examples, which the reader has written
EXAMPLES = {
    "small_vae.json": {"base": "vae.json", "channels": [16]},
    "mine.yaml": {"epochs": 40},
}


def _options(file: Path) -> set[str]:
    """Options of a script, by what its parsers are given."""
    calls = (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    added = (c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "add_argument")
    return {a.value for c in added for a in c.args if isinstance(a, ast.Constant) and str(a.value).startswith("--")}


def _asked(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def _check_own(words: Sequence[str]) -> None:
    """``monai_cuas COMMAND ...``: its own options, and overrides of the configs that it stands for."""
    if {"--help", "--version"} & set(words):
        return
    parsed, rest = build_parser().parse_known_args(list(words))
    named = parsed.methods if parsed.command == "compare" else [getattr(parsed, "method", DEFAULT_METHOD)]
    overlays = [file for name in named if name != "all" for file in method_overlays(name)]
    if not rest:
        return
    assert hasattr(parsed, "overrides"), f"unrecognized arguments: {' '.join(rest)}"
    files = FRONTS.get(parsed.command, ["train.json", "inference.json", "evaluate.json", "calibrate.json"])
    asked = {key.rpartition(":")[2]: value for key, value in parse_overrides(rest).items()}
    refuse_unknown([str(CONFIGS / f) for f in dict.fromkeys([*files, *overlays])], asked)


def _check_bundle(words: Sequence[str]) -> None:
    """``python -m monai.bundle TOOL ...``: MONAI's own arguments, and overrides of the configs that are named."""
    tool, rest = words[0], list(words[1:])
    arguments = set(inspect.signature(getattr(monai.bundle, tool)).parameters)
    if tool != "run":
        assert {option[2:] for option in _asked(rest)} <= arguments | {"bundle_root"}
    files = [word for k, word in enumerate(rest) if k and rest[k - 1] == "--config_file"]
    for name in [name for word in files for name in re.findall(r"[\w./]+\.(?:json|yaml)", word)]:
        assert Path(name).is_file(), f"there is no {name}"
    if tool == "run":
        # true and false in the runner's hands are another test's matter; here it is the names
        check_overrides([f"{Path('monai') / 'bundle'}", "run", *rest])
        known = {key for word in files for name in re.findall(r"[\w./]+\.json", word) for key in _config(name)}
        for run_id in [word for word in rest[:1] if not word.startswith("--")]:
            assert run_id in known, f"no config has the id {run_id}"


def _config(name: str) -> dict:
    return ConfigParser.load_config_file(name)


def _check_pip(words: Sequence[str]) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = set(config["options.extras_require"])
    for word in words:
        for extra in re.findall(r"^(?:\.|monai_cuas)\[([\w,]+)\]", word):
            assert set(extra.split(",")) <= extras, f"setup.cfg has no extra {extra}"
        if words[words.index(word) - 1] == "-r":
            assert (ROOT / word).is_file()


def check(words: Sequence[str]) -> None:
    """
    Check one command.

    Raises:
        AssertionError, CUASError, SystemExit: the program would refuse it.
    """
    program, rest = words[0], list(words[1:])
    if program == "torchrun":
        rest = rest[rest.index("-m") :]
        program = "python"
    name = Path(program).name
    if name.startswith("python"):
        if rest[:2] == ["-m", "monai_cuas"]:
            _check_own(rest[2:])
        elif rest[:2] == ["-m", "monai.bundle"]:
            _check_bundle(rest[2:])
        elif rest[:2] == ["-m", "monai_cuas.label"]:
            # MONAI Label's own command, which tests/label runs
            assert rest[2] == "start_server"
            assert _asked(rest) <= LABEL
        elif rest[:1] == ["-m"]:
            assert rest[1] in ("venv", "pytest", "pip", "build")
        else:
            assert _asked(rest[1:]) <= _options(ROOT / rest[0])
    elif name == "monai_cuas":
        _check_own(rest)
    elif name == "pip":
        _check_pip(rest)
    elif program in ("bash", "."):
        assert rest[0].endswith("activate") or (ROOT / rest[0]).is_file()
    else:
        assert program in FOREIGN, f"the test knows no program '{program}'"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder in which the documents' commands find what they name."""
    for name in ("bundles", "benchmarks", ".ci", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, content in EXAMPLES.items():
        (tmp_path / name).write_text(json.dumps(content) if name.endswith("json") else yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [c for c in ALL if not c.mark], ids=str)
def test_a_command_of_the_documents_can_be_typed(command: Command, checkout):
    try:
        check(command.words)
    except SystemExit as stopped:
        pytest.fail(f"the command line refuses it ({stopped})")


@pytest.mark.parametrize(
    "text",
    [
        "monai_cuas infer SCAN --output RESULTS",
        "monai_cuas infer SCAN --output_dir RESULTS --rat 0.1",
        "monai_cuas datalist --input A --output B --roles normal",
        "monai_cuas train --method amcon",
        "monai_cuas compare --methods vae --output_dir A --vae:learning_rat 1",
        "python -m monai.bundle run --config_file bundles/cuas/configs/inference.json --inputs A",
        "python -m monai.bundle run trainin --config_file bundles/cuas/configs/train.json",
        "python -m monai.bundle run --config_file bundles/cuas/configs/infer.json",
        "python -m monai.bundle ckpt_export --weights A",
        "python benchmarks/real/judge.py --weights A",
        "pip install -e '.[everything]'",
        "monai_cuas_infer SCAN",
    ],
)
def test_what_was_renamed_is_noticed(text, checkout):
    (words,) = split(text)
    with pytest.raises((Exception, SystemExit)):
        check(words)


def _known_options() -> set[str]:
    own = {option for parser in PARSERS.values() for action in parser._actions for option in action.option_strings}
    scripts = {option for file in (ROOT / "benchmarks").rglob("*.py") for option in _options(file)}
    configs = [ConfigParser.load_config_file(str(file)) for file in CONFIGS.rglob("*.json")]
    ids = {key.split("#")[0] for config in configs for key in config}
    ids |= {name for config in configs for name in re.findall(r"[@%]([A-Za-z_]\w*)", json.dumps(config))}
    monai_own = {
        name
        for tool in ("run", "ckpt_export", "onnx_export")
        for name in inspect.signature(getattr(monai.bundle, tool)).parameters
    }
    return own | scripts | {f"--{name}" for name in ids | monai_own}


OPTIONS = _known_options()
# of MONAI Label's server, curl and the authors' code; a misspelt one that a page shows to be refused
NOT_OURS = {*LABEL, "--host", "--data-binary", "--wae", "--epoch"}
# what a page that tells of earlier versions names as gone
GONE = {"docs/results/trials.md": {"--brightness"}}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_an_option_in_a_sentence_is_an_option(page):
    prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    named = {option for code in inline(prose) for option in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*(?![\w:-])", code)}
    assert named - OPTIONS - NOT_OURS - GONE.get(str(page.relative_to(ROOT)), set()) == set()


@pytest.mark.parametrize(
    "block",
    [b for p in PAGES for b in blocks(p) if b.language in ("json", "yaml", "python")],
    ids=lambda b: str(b.page.relative_to(ROOT)),
)
def test_examples_of_other_languages_can_be_read(block):
    if block.language == "python":
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom):
                module = __import__(str(node.module), fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names)
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    else:
        text = block.text.strip()
        assert json.loads(text if text.startswith("{") else f"{{{text}}}")


def test_the_documents_have_commands():
    assert len(ALL) > 60
    assert {c.words[1] for c in ALL if c.words[0] == "monai_cuas"} >= {"infer", "train", "calibrate", "evaluate"}
    marked = [c for c in ALL if c.mark]
    assert len(marked) < len(ALL) / 5
