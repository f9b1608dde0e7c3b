"""`nankeen agent`: what its flags become."""

from __future__ import annotations

import pytest

from nankeen.agent import daemon
from nankeen.agent.settings import Settings
from nankeen.agent.wish import Wish
from nankeen.cli import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What agents were started with, had they been."""
    found: list[Settings] = []
    monkeypatch.setattr(daemon, "run", found.append)
    return found


def test_the_flags_about_the_underlay_are_flannels(started: list[Settings]) -> None:
    flags = [
        *("--iface", "eth0", "--iface=10.99.0.1", "--iface-regex", "^eth", "--iface-regex=^10[.]"),
        *("--iface-can-reach", "192.0.2.1", "--public-ip", "203.0.113.7", "--public-ipv6", "2001:db8::7"),
    ]
    assert main(["agent", "--registry", "sqlite:///nowhere", *flags]) == 0
    wish = Wish.parse(["eth0", "10.99.0.1"], ["^eth", "^10[.]"], "192.0.2.1", "203.0.113.7", "2001:db8::7")
    assert [settings.underlay for settings in started] == [wish]


def test_plugins_to_stand_in_for_are_named_one_after_the_other(started: list[Settings]) -> None:
    assert main(["agent", "--registry", "sqlite:///nowhere", "--cni-as", "flannel, portmap,flannel,"]) == 0
    assert main(["agent", "--registry", "sqlite:///nowhere"]) == 0
    assert [settings.cni_as for settings in started] == [("flannel", "portmap"), ()]


@pytest.mark.parametrize(
    "flag, value, said",
    [
        ("--iface-regex", "eth(", "--iface-regex: 'eth(' is no regular expression"),
        ("--iface-can-reach", "gateway", "--iface-can-reach: 'gateway' is not an IP address"),
        ("--cni-as", "flannel,bridge", "--cni-as: 'bridge' is none; name some of flannel, bandwidth, firewall"),
        ("--public-ip", "fd99::1", "--public-ip: 'fd99::1' is not an IPv4 address"),
    ],
)
def test_a_wrong_flag_starts_no_agent(
    started: list[Settings], capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    assert main(["agent", "--registry", "sqlite:///nowhere", flag, value]) == 2
    assert said in capsys.readouterr().err
    assert not started
