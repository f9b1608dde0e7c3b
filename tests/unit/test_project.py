"""The checkout itself: what `./nk`, the packaging and the documents promise of each other."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench import ROWS
from nankeen import backend
from nankeen.cli import COMMANDS, nankeen
from nankeen.lab import labfile

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted(ROOT.glob("examples/*"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_one_version_and_only_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [_normal(line.partition("==")[0]) for line in lines]
    assert all("==" in line for line in lines)
    assert len(pinned) == len(set(pinned))
    assert {_normal(re.split(r"[<>=!~\[; ]", name)[0]) for name in asked} <= set(pinned)


@pytest.mark.parametrize("script", ["nk", ".ci/run"])
def test_the_scripts_are_for_any_posix_shell(script: str) -> None:
    path = ROOT / script
    assert path.read_text().startswith("#!/bin/sh\n")
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_ci_runs_the_test_command_that_the_readme_gives() -> None:
    assert "    ./nk test " in (ROOT / "README.md").read_text()
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec ./nk test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_to_is_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    named = re.findall(r"`((?:src|tests|bench|docs)/[\w/.-]+\.(?:py|md))`", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_lab_of_the_files_name_that_a_document_points_to(example: Path) -> None:
    assert labfile.read(example).name == example.stem
    assert any(f"(../examples/{example.name})" in document.read_text() for document in DOCUMENTS)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The long options of a command and of those below it."""
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        below = command.get_command(context, name) if isinstance(command, click.Group) else None
        assert below is not None
        yield from _options(below, context)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_names_every_option_of_a_command(name: str) -> None:
    context = click.Context(nankeen)
    command = nankeen.get_command(context, name)
    assert command is not None
    reference = (ROOT / "docs/reference.md").read_text()
    section = reference.partition(f"## `nankeen {name}")[2].partition("\n## ")[0]
    assert section
    ours = {option for option in _options(command, context) if option != "--json"}  # which all commands take
    # Of a flag that is on by default, the word that turns it off is what there is to know.
    assert not {option for option in ours if option not in section and f"--no-{option[2:]}" not in section}


def test_the_reference_names_every_row_of_the_measurements() -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    assert not [row.id for row in ROWS if f"{row.id.partition('.')[0]}" not in reference]


def test_every_backend_has_a_section() -> None:
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs/backends.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(backend._MODULES)


def test_what_the_map_names_is_there() -> None:
    named = re.findall(r"`(?:[\w/]+/)?(\w+\.(?:py|c))`", (ROOT / "docs/map.md").read_text())
    modules = {path.name for path in (ROOT / "src/nankeen").rglob("*")}
    assert not [name for name in named if name not in modules]
