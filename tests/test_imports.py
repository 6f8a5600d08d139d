# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Imports between the package's rooms run one way, and there is no circle between modules."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import monai_cuas

PACKAGE = Path(monai_cuas.__file__).parent

# a room may import those before it
ORDER = (
    *("utils", "io", "metrics", "networks", "losses", "transforms", "data", "phantom", "visualize", "inferers"),
    *("engines", "recipe", "calibration", "handlers", "shipped", "pipeline", "bundle", "evaluation", "label"),
    *("commands", "cli", "__main__"),
)


def _modules() -> dict[str, Path]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = _modules()


def _imports(name: str, file: Path) -> set[str]:
    """Modules of this package that a file imports when it is loaded, and within its functions."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {full if (full := f"{module}.{alias.name}") in MODULES else module for alias in node.names}
    return {module for module in found if module in MODULES and module != name}


GRAPH = {name: _imports(name, file) for name, file in MODULES.items()}


def _room(module: str) -> str:
    return (module.split(".") + [""])[1]


def test_the_graph_is_read():
    """A test of imports that finds none would pass for nothing."""
    assert "monai_cuas.recipe" in GRAPH["monai_cuas.pipeline"]
    assert sum(map(len, GRAPH.values())) > 100


def test_there_is_no_circle():
    # a package's __init__ gathers what its modules define, so it is no step of a circle of its own
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    graph = {name: targets - packages for name, targets in GRAPH.items() if name not in packages}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", ORDER)
def test_imports_run_one_way(room):
    later = {
        f"{name} imports {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if _room(name) == room and _room(target) in ORDER and ORDER.index(_room(target)) > ORDER.index(room)
    }
    assert not later


def test_every_room_has_its_place():
    assert {_room(name) for name in MODULES} - {"", *ORDER} == set()
