"""The unit for systemd: it is one, and what it says holds."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from nankeen.agent.settings import STATUS_FILE, SUBNET_FILE
from nankeen.cli import COMMANDS
from nankeen.cni.server import SOCKET

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/nankeen.service"


def settings() -> Mapping[str, str]:
    """Its settings, as systemd.syntax(7) has them, by section and name: `Service.Type`."""
    found: dict[str, str] = {}
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            name, equals, value = line.partition("=")
            assert equals
            assert section in {"Unit", "Service", "Install"}
            assert f"{section}.{name}" not in found
            found[f"{section}.{name}"] = value
    return found


def test_it_starts_a_command_that_there_is_and_waits_for_its_word() -> None:
    found = settings()
    program, command = found["Service.ExecStart"].split()
    assert Path(program).name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command in COMMANDS
    assert (found["Service.Type"], found["Service.TimeoutStartSec"]) == ("notify", "infinity")


def test_what_must_outlive_the_agent_does() -> None:
    found = settings()
    assert (found["Service.Restart"], found["Service.KillMode"]) == ("always", "process")
    kept = {Path("/run") / name for name in found["Service.RuntimeDirectory"].split()}
    assert {SUBNET_FILE.parent, STATUS_FILE.parent, SOCKET.parent} <= kept
    assert found["Service.RuntimeDirectoryPreserve"] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_it_without_a_complaint(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(settings()["Service.ExecStart"], "/bin/true"))  # nothing is installed here
    done = subprocess.run(["systemd-analyze", "verify", copy], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_package_brings_it() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"deploy/nankeen.service": "lib/systemd/system/nankeen.service"}
