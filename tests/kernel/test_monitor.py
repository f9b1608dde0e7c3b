"""The kernel's news, awaited: no test here sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel.apply import apply
from nankeen.kernel.monitor import Event, Monitor
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Claim, diff
from nankeen.model.state import Address, Bridge, Link, Neighbour, Route, State, Sysctl, Veth

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


async def first(monitor: Monitor, wanted: Callable[[Event], bool]) -> Event:
    """The first event that is wanted."""
    async with asyncio.timeout(10):
        async for batch in monitor.batches():
            for event in batch:
                if wanted(event):
                    return event
    raise AssertionError("the monitor ended")


@pytest.mark.parametrize(
    "command,event",
    [
        ("ip link set flannel.1 mtu 1400", Event(Link, "flannel.1")),
        ("ip link delete flannel.1", Event(Link, "flannel.1")),
        ("ip address add 10.5.34.0/32 dev flannel.1", Event(Address, "flannel.1")),
        ("ip route add 10.5.59.0/24 via 10.5.59.0 dev flannel.1 onlink", Event(Route, "flannel.1")),
        ("ip neigh add 10.5.59.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent", Event(Neighbour, "flannel.1")),
        ("bridge fdb append 02:00:00:00:00:02 dev flannel.1 dst 10.99.0.2", Event(Neighbour, "flannel.1")),
        ("sysctl -qw net.ipv4.ip_forward=1", Event(Sysctl)),
        ("sysctl -qw net.ipv4.conf.flannel/1.forwarding=1", Event(Sysctl, "flannel.1")),
    ],
)
async def test_a_change_by_someone_else_is_news(net: Net, command: str, event: Event) -> None:
    net.run("ip link add flannel.1 type vxlan id 1 dstport 8472")
    net.run("ip link set flannel.1 up")
    with Monitor(net.namespace) as monitor:
        net.run(command)
        found = await first(monitor, lambda found: (found.kind, found.device) == (event.kind, event.device))
        assert found.device == event.device


@pytest.mark.parametrize("command", ["ip neigh delete", "ip neigh change nud reachable lladdr 02:00:00:00:00:02"])
async def test_a_neighbour_that_is_permanent_no_more_is_missed(net: Net, command: str) -> None:
    net.run("ip link add flannel.1 type vxlan id 1 dstport 8472")
    net.run("ip link set flannel.1 up")
    net.run("ip neigh add 10.5.59.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent")
    wanted = State([Neighbour("flannel.1", IPv4Address("10.5.59.0"), HardwareAddress(b"\2\0\0\0\0\2"))])
    with Monitor(net.namespace) as monitor:
        net.run(f"{command} 10.5.59.0 dev flannel.1")
        assert (await first(monitor, lambda event: event.contradicts(wanted, Claim()))).gone


async def test_devices_of_others_that_come_and_go_have_no_settings_of_ours(net: Net) -> None:
    with Monitor(net.namespace) as monitor:
        net.run("ip link add veth7 type veth peer name eth7")
        net.run("ip link delete veth7")
        net.run("ip link add cni0 type bridge")
        async with asyncio.timeout(10):
            async for batch in monitor.batches():
                if any(event.device == "cni0" for event in batch):
                    break
                assert not any(event.contradicts(DESIRED, CLAIM) for event in batch)


async def test_what_a_link_was_meanwhile_is_no_news(net: Net) -> None:
    with Monitor(net.namespace) as monitor:
        net.run("ip link add cni0 type bridge")
        net.run("ip address add 10.5.34.1/24 dev cni0")
        for mtu in (1300, 1400, 1450):
            net.run(f"ip link set cni0 mtu {mtu}")
        events = await anext(monitor.batches())
    assert Event(Address, "cni0", Address("cni0", IPv4Interface("10.5.34.1/24"))) in events
    assert {event.object.mtu for event in events if isinstance(event.object, Link)} == {1450}


async def test_a_device_made_later_is_known_by_name(net: Net) -> None:
    with Monitor(net.namespace) as monitor:
        net.run("ip link add cni0 type bridge")
        net.run("ip address add 10.5.34.1/24 dev cni0")
        assert (await first(monitor, lambda event: event.kind is Address)).device == "cni0"


async def test_what_we_do_ourselves_is_no_news(net: Net) -> None:
    ours = State([Link("cni0", Bridge(), up=False), Address("cni0", IPv4Interface("10.5.34.1/24"))])
    with Monitor(net.namespace, frozenset({net.socket.port})) as monitor:
        assert apply(net.socket, diff(ours, net.observe())) == []
        net.run("ip address add 10.5.34.9/24 dev cni0")
        async with asyncio.timeout(10):
            seen = []
            async for batch in monitor.batches():
                seen += [event for event in batch if event.kind is Address]
                if seen:
                    break
        assert [str(event.object) for event in seen] == ["inet 10.5.34.9/24 dev cni0"]


DESIRED = State([
    Link("cni0", Bridge(), 1450),
    Address("cni0", IPv4Interface("10.5.34.1/24")),
    Route(IPv4Network("10.5.59.0/24"), "cni0", IPv4Address("10.5.34.9")),
    Sysctl("net/ipv4/conf/cni0/forwarding", "1"),
])  # fmt: skip
CLAIM = Claim(frozenset({"cni0"}), frozenset({IPv4Network("10.5.0.0/16")}))


@pytest.mark.parametrize(
    "event,contradicts",
    [
        (Event(None), True),
        (Event(Sysctl), True),
        (Event(Sysctl, "cni0"), True),
        (Event(Sysctl, "veth7"), False),
        (Event(Link, "cni0", Link("cni0", Bridge(), 1450)), False),
        (Event(Link, "cni0", Link("cni0", Bridge(), 1400)), True),
        (Event(Link, "cni0", Link("cni0", Bridge(), 1450), gone=True), True),
        (Event(Link, "veth7", Link("veth7", Veth(), 1400), gone=True), False),
        (Event(Address, "cni0", Address("cni0", IPv4Interface("10.5.34.1/24")), gone=True), True),
        (Event(Address, "cni0", Address("cni0", IPv4Interface("10.5.34.7/24"))), True),
        (Event(Address, "cni0", Address("cni0", IPv4Interface("192.168.7.7/24"))), False),
        (Event(Route, "cni0", Route(IPv4Network("10.5.59.0/24"), "cni0", IPv4Address("10.5.34.8"), metric=0)), True),
        (Event(Route, "cni0", Route(IPv4Network("10.5.59.0/24"), "cni0", IPv4Address("10.5.34.9"), metric=0)), False),
        (Event(Route, "eth0", Route(IPv4Network("10.5.59.0/24"), "eth0", IPv4Address("10.9.9.9"), metric=0)), True),
    ],
)
def test_news_matters_where_it_is_not_what_is_desired(event: Event, *, contradicts: bool) -> None:
    assert event.contradicts(DESIRED, CLAIM) is contradicts
