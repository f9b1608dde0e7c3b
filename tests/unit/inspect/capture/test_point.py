"""Points: told from filters, found among members and devices, and named when they are not there."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from nankeen.inspect.capture import point as points
from nankeen.inspect.capture.point import Wish, find, hosts, split
from nankeen.lab.lab import Lab, LabNode, LabPod, Namespaces
from nankeen.model.errors import InputError
from nankeen.model.state import Bridge, Device, Link, Veth, Vxlan

NODE = LabNode("node1", Namespaces(Path("/n/node1")), "eth0", (ip_interface("192.168.0.11/24"),), Path("/d"))
POD = LabPod("pod1", "node1", Namespaces(Path("/n/pod1")), "x", (ip_interface("10.244.1.2/24"),))
NETWORK = '{"Network": "10.244.0.0/16", "Backend": {"Type": "udp", "Port": 9285}}'
LAB = Lab("lab", Path("/l"), rootless=False, network=NETWORK, nodes=(NODE,), pods=(POD,))
LINKS = {
    Path("/n/node1"): [
        Link("lo", Device(""), up=True),
        Link("cni0", Bridge(), up=True),
        Link("eth0", Device(""), up=True),
        Link("flannel.1", Vxlan(1, "eth0", None, port=9472), up=True),
        Link("eth1", Device(""), up=False),
    ],
    Path("/n/pod1"): [Link("lo", Device(""), up=True), Link("eth0", Veth(), up=True)],
    None: [Link("lo", Device(""), up=True), Link("wlan0", Device(""), up=True), Link("pod1", Device(""), up=True)],
}


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "read_links", LINKS.__getitem__)


def names(*words: str, lab: Lab | None = LAB) -> list[str]:
    return [point.name for point in find([Wish.parse(word) for word in words], lab)[0]]


@pytest.mark.parametrize(
    "words, meant, text",
    [
        (["node1", "pod1:eth0"], ["node1", "pod1:eth0"], ""),
        (["node1", "tcp"], ["node1"], "tcp"),
        (["node1", "not", "arp"], ["node1"], "not arp"),
        (["node1", "host pod1"], ["node1"], "host pod1"),
        (["(tcp", "or", "udp)"], [], "(tcp or udp)"),
        (["!tcp"], [], "!tcp"),
        ([], [], ""),
    ],
)
def test_a_filter_begins_where_a_word_can_begin_one(words: list[str], meant: list[str], text: str) -> None:
    found, rest = split(words)
    assert ([wish.word for wish in found], rest) == (meant, text)


@pytest.mark.parametrize(
    "words, found",
    [
        (["node1"], ["node1:eth0", "node1:flannel.1", "node1:cni0"]),
        (["node1:lo"], ["node1:lo"]),
        (["node1:eth1"], ["node1:eth1"]),
        (["pod1"], ["pod1:eth0"]),
        (["pod1", "pod1:eth0"], ["pod1:eth0"]),
        (["wlan0"], ["wlan0"]),
        ([":pod1"], ["pod1"]),
        ([":"], ["wlan0", "pod1"]),
        ([], ["node1:eth0", "node1:flannel.1", "node1:cni0", "pod1:eth0"]),
    ],
)
def test_points_are_members_and_devices(words: list[str], found: list[str]) -> None:
    assert names(*words) == found


def test_without_a_lab_the_machines_devices_are_meant() -> None:
    assert names(lab=None) == ["wlan0", "pod1"]


@pytest.mark.parametrize(
    "word, problem",
    [
        ("nod1", "nod1: there is no such node, pod or device; did you mean node1"),
        ("node1:flanel.1", "did you mean node1:flannel.1"),
        ("hots", "did you mean host"),
        ("x", "there are: node1 pod1 lo wlan0"),
        ("node9:eth0", "node9:eth0: there is no such node, pod or device; did you mean"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is_near(word: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        names(word)


def test_a_hostile_name_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "read_links", lambda _: [Link("a\x1b[2J", Device(""), up=True)])
    assert names(":", lab=None) == ["a\\x1b[2J"]
    with pytest.raises(InputError) as caught:
        names("b\x1b[2J")
    assert "\x1b" not in str(caught.value)
    with pytest.raises(InputError, match=r"there are: a\\x1b\[2J"):
        names("x", lab=None)


def test_the_ports_of_tunnels_are_those_that_run() -> None:
    assert find([], LAB)[1].vxlan == {9472}
    assert find([], LAB)[1].udp == {9285, 8285}
    assert find([], None)[1].vxlan == {8472, 4789}


def test_hosts_may_be_named() -> None:
    assert hosts(LAB) == {"node1": (ip_address("192.168.0.11"),), "pod1": (ip_address("10.244.1.2"),)}
    assert hosts(None) == {}
