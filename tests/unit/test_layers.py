"""What the floors of the house may import beyond nankeen itself. Their order is checked by import-linter."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nankeen

SOURCE = Path(nankeen.__file__).parent
TERMINALS = {"click", "rich"}
TOOLS = {"ip", "bridge", "sysctl", "iptables", "tc", "brctl"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module


def _packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("path", sorted((SOURCE / "model").rglob("*.py")), ids=lambda path: path.name)
def test_the_ground_floor_imports_only_itself_and_the_standard_library(path: Path) -> None:
    foreign = {
        name
        for name in _imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith("nankeen.model.")
    }
    assert not foreign


@pytest.mark.parametrize("floor", sorted({path.name for path in SOURCE.iterdir() if path.is_dir()} - {"cli", "ui"}))
def test_no_floor_below_the_commands_knows_of_terminals(floor: str) -> None:
    users = {str(path) for path in (SOURCE / floor).rglob("*.py") if _packages(path) & TERMINALS}
    assert not users


def test_no_part_of_the_product_runs_the_tools_it_replaces() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _program(node) in TOOLS
    ]
    assert not found


def _program(call: ast.Call) -> str | None:
    """The first word of what a call would run: of `run(["ip", …])`, `create_subprocess_exec("ip", …)` and the like."""
    match call:
        case ast.Call(args=[ast.List(elts=[ast.Constant(value=str(word)), *_]), *_]):
            return Path(word).name
        case ast.Call(func=ast.Attribute(attr=attribute), args=[ast.Constant(value=str(word)), *_]):
            runs = any(part in attribute for part in ("exec", "spawn", "popen", "system", "run"))
            return Path(word.split(" ")[0]).name if runs else None
    return None
