"""`nankeen docker-opts`: the files it reads and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nankeen.cli import main

SAMPLE = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n"
ALL = 'DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n'


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("DOCKER_OPTS", raising=False)
    (tmp_path / "subnet.env").write_text(SAMPLE)
    return ["docker-opts", "-f", str(tmp_path / "subnet.env")]


@pytest.mark.parametrize(
    "flags, lines",
    [
        ([], ["DOCKER_OPT_BIP", "DOCKER_OPT_IPMASQ", "DOCKER_OPT_MTU", "DOCKER_OPTS"]),
        (["-i"], ["DOCKER_OPT_BIP", "DOCKER_OPT_IPMASQ", "DOCKER_OPT_MTU"]),
        (["-c"], ["DOCKER_OPTS"]),
        (["-ic", "-k", "X"], ["DOCKER_OPT_BIP", "DOCKER_OPT_IPMASQ", "DOCKER_OPT_MTU", "X"]),
        (["-m"], ["DOCKER_OPT_BIP", "DOCKER_OPT_MTU", "DOCKER_OPTS"]),
    ],
)
def test_flags_are_those_of_flannels_script(
    words: list[str], capsys: pytest.CaptureFixture[str], flags: list[str], lines: list[str]
) -> None:
    assert main([*words, "-d", "-", *flags]) == 0
    assert [line.partition("=")[0] for line in capsys.readouterr().out.splitlines()] == lines


def test_a_file_is_replaced_whole(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "docker_opts.env"
    assert main([*words, "-c", "-d", str(target)]) == 0
    assert (target.read_text(), target.stat().st_mode & 0o777) == (ALL, 0o644)
    monkeypatch.setenv("DOCKER_OPTS", "--debug")
    assert main([*words, "-c", "-d", str(target)]) == 0
    assert target.read_text() == ALL.replace('" ', '"--debug  ')


def test_daemon_json_gets_the_options_and_keeps_the_rest(words: list[str], tmp_path: Path) -> None:
    target = tmp_path / "daemon.json"
    target.write_text('{"log-driver": "journald"}')
    target.chmod(0o600)
    assert main([*words, "--daemon-json", str(target)]) == 0
    wanted = {"log-driver": "journald", "bip": "10.1.74.1/24", "ip-masq": False, "mtu": 1472}
    assert (json.loads(target.read_text()), target.stat().st_mode & 0o777) == (wanted, 0o600)
    target.unlink()
    assert main([*words, "--daemon-json", str(target)]) == 0
    assert json.loads(target.read_text())["bip"] == "10.1.74.1/24"


@pytest.mark.parametrize(
    "flags, said",
    [
        (["-f", "nowhere.env"], "nowhere.env: there is no such file; the agent writes it when it is ready"),
        (["-k", "A B"], "'A B' is no name of a variable; write it as DOCKER_OPTS"),
        (["--daemon-json", "broken.json"], "broken.json: it is not JSON"),
        (["-f", "empty.env"], "empty.env: it tells no IPv4 subnet"),
        (["-d", "/proc/nowhere/x"], "/proc/nowhere/x: cannot be written"),
        (["--daemon-json", "x" * 300], "xxx: cannot be read: File name too long"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flags: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    Path("empty.env").write_text("")
    assert main([*words, "-d", "-", *flags]) != 0
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert Path("broken.json").read_text() == "{"
