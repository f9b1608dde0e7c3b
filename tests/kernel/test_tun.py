"""TUN devices as desired state: made to stay, told from others, replaced where they are of another kind."""

from __future__ import annotations

import fcntl
import os
import struct
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import tun
from nankeen.kernel.ability import can_make, lack, lacking
from nankeen.kernel.apply import apply
from nankeen.kernel.namespace import entered
from nankeen.model.diff import Change, Claim, Verb, diff
from nankeen.model.state import Address, Link, Route, State, Sysctl, Tun

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

CLAIM = Claim(frozenset({"flannel0"}), frozenset({IPv4Network("10.244.0.0/16"), IPv6Network("fd10:244::/48")}))
CONTROL = Path(tun.CONTROL)
ADDR_GEN_MODE = "net/ipv6/conf/flannel0/addr_gen_mode"
LINK = Link("flannel0", Tun(), mtu=1452)


@pytest.fixture(autouse=True)
def _needs_tun() -> None:
    if tun.obstacle():
        pytest.skip("needs /dev/net/tun")


def tunnel() -> State:
    return State([
        LINK,
        Sysctl(ADDR_GEN_MODE, "1"),
        Address("flannel0", IPv4Interface("10.244.1.0/32")),
        Address("flannel0", IPv6Interface("fd10:244:0:1::/128")),
        Route(IPv4Network("10.244.0.0/16"), "flannel0"),
        Route(IPv6Network("fd10:244::/48"), "flannel0"),
    ])  # fmt: skip


def reconcile(net: Net, desired: State) -> list[str]:
    changes = diff(desired, net.observe(ADDR_GEN_MODE), CLAIM)
    assert apply(net.socket, changes, net.namespace) == []
    return [str(change) for change in changes]


def test_a_tun_device_stands_without_a_process_and_looks_to_ip_as_it_should(net: Net) -> None:
    reconcile(net, tunnel())
    shown = net.run("ip -details link show flannel0")
    assert "mtu 1452" in shown
    assert ",UP" in shown
    assert "tun type tun pi off vnet_hdr on multi_queue" in shown
    assert "persist on" in shown
    assert net.run("ip route show") == "10.244.0.0/16 dev flannel0 scope link linkdown \n"
    assert "fd10:244::/48 dev flannel0 metric 1024 linkdown" in net.run("ip -6 route show")
    assert "fe80" not in net.run("ip -6 address show dev flannel0")


def test_what_was_made_is_what_is_observed(net: Net) -> None:
    reconcile(net, tunnel())
    assert reconcile(net, tunnel()) == []


def test_the_largest_packet_to_be_segmented_can_be_set(net: Net) -> None:
    smaller = State([Link("flannel0", Tun(), mtu=1452, gso_max_size=32_768)])
    reconcile(net, smaller)
    assert "gso_max_size 32768" in net.run("ip -details link show flannel0")
    assert reconcile(net, smaller) == []


def test_a_device_that_is_open_keeps_what_matters_whatever_its_reader_asks_for(net: Net) -> None:
    """How packets are handed over is the affair of whoever opens the device."""
    reconcile(net, tunnel())
    with entered(net.namespace), CONTROL.open("r+b", buffering=0) as queue:
        fcntl.ioctl(queue, 0x4004_54CA, struct.pack("=16sH22x", b"flannel0", 0x1101))  # no struct virtio_net_hdr
        assert reconcile(net, tunnel()) == []


@pytest.mark.parametrize(
    "command",
    [
        "ip tuntap add dev flannel0 mode tun",
        "ip tuntap add dev flannel0 mode tap multi_queue",
        "ip link add flannel0 type bridge",
    ],
    ids=["one queue", "tap", "bridge"],
)
def test_a_device_of_another_kind_is_replaced(net: Net, command: str) -> None:
    net.run(command)
    assert reconcile(net, tunnel())[0].startswith("~ flannel0: tun type tun pi off multi_queue persist on")
    assert reconcile(net, tunnel()) == []


def test_flannels_own_device_which_ends_with_its_process_is_replaced(net: Net) -> None:
    with entered(net.namespace):
        queue = os.open(CONTROL, os.O_RDWR)
    try:
        fcntl.ioctl(queue, 0x4004_54CA, struct.pack("=16sH22x", b"flannel0", 0x1001))
        reconcile(net, tunnel())
    finally:
        os.close(queue)
    assert reconcile(net, tunnel()) == []


def test_a_device_that_is_not_wanted_any_more_is_removed_also_where_it_is_open(net: Net) -> None:
    reconcile(net, tunnel())
    with entered(net.namespace), CONTROL.open("r+b", buffering=0) as queue:
        fcntl.ioctl(queue, 0x4004_54CA, struct.pack("=16sH22x", b"flannel0", 0x5101))
        reconcile(net, State())
        assert "flannel0" not in net.run("ip link show")


def test_a_kernel_with_tun_devices_lacks_none(net: Net) -> None:
    assert can_make(net.socket, "tun")
    assert lacking(net.socket, {"tun"}) == ()


def test_without_the_control_device_that_is_said_and_what_stands_is_left(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.run("ip tuntap add dev flannel0 mode tun")
    (old,) = (link for link in net.observe().of(Link) if link.name == "flannel0")
    monkeypatch.setattr(tun, "CONTROL", "/nowhere/tun")
    assert lacking(net.socket, {"tun"}) == ("tun",)
    assert lack("tun").startswith("/nowhere/tun cannot be opened (No such file or directory): load the module `tun`")
    refused = apply(net.socket, [Change(Verb.REPLACE, LINK, old)], net.namespace)
    assert [refusal.reason for refusal in refused] == [lack("tun")]
    assert "flannel0" in net.run("ip link show")
