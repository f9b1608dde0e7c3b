"""The checkout itself: what `./nk`, the packaging and the documents promise of each other."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


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
