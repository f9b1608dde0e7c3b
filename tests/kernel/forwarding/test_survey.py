"""A survey while somebody changes what is surveyed: what it tells has been so at one moment, or it tells nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from nankeen.forwarding.ruleset import Ruleset
from nankeen.forwarding.world import World
from nankeen.kernel import world as worlds
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.world import read_rules, survey
from nankeen.model.errors import KernelError

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

CHANGES = {
    "a link": "ip link set veth0 mtu 1400",
    "an address": "ip address add 10.98.0.1/24 dev veth0",
    "a route": "ip route add blackhole 10.97.0.0/16",
    "a rule": "ip rule add from 10.96.0.0/16 blackhole",
    "a permanent neighbour": "ip neigh add 10.99.0.9 lladdr 02:00:00:00:00:09 dev veth0",
    "a setting with news": "sysctl -qw net.ipv4.conf.veth0.rp_filter=1",
    "a setting without": "sysctl -qw net.ipv4.conf.veth0.arp_ignore=1",
    "the packet filter": "nft add table inet t { chain c { type filter hook forward priority 0 ; } ; }",
}
Meanwhile = Callable[[int], object]


@pytest.fixture
def nets(make_net: Callable[[], Net]) -> dict[str, Net]:
    found = {"one": make_net(), "two": make_net()}
    for net in found.values():
        net.run("ip link add veth0 type veth peer name veth1")
        net.run("ip link set veth0 up")
        net.run("ip address add 10.99.0.1/24 dev veth0")
    return found


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Meanwhile]]:
    """What is done after each reading of a host, given how many there were: its packet filter is read last."""
    doing: list[Meanwhile] = []
    readings = iter(range(1, 100))

    def read(namespace: Namespace | None = None) -> Ruleset:
        found = read_rules(namespace)
        number = next(readings)
        for each in doing:
            each(number)
        return found

    monkeypatch.setattr(worlds, "read_rules", read)
    yield doing
    doing.clear()


def surveyed(nets: dict[str, Net]) -> World:
    return survey({name: net.namespace for name, net in nets.items()})


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_host_that_changes_after_it_was_read_is_read_again(
    nets: dict[str, Net], meanwhile: list[Meanwhile], change: str
) -> None:
    meanwhile.append(lambda number: nets["one"].run(change) if number == 1 else None)
    seen, now = surveyed(nets), surveyed(nets)
    assert set(seen.hosts["one"].state or ()) == set(now.hosts["one"].state or ())
    assert seen.hosts["one"].ruleset == now.hosts["one"].ruleset


def test_two_hosts_that_change_together_are_never_seen_apart(nets: dict[str, Net], meanwhile: list[Meanwhile]) -> None:
    """Between the readings of the two, and once more between the readings of what has changed."""

    def move(number: int) -> None:
        for net in nets.values() if number in (1, 3) else ():
            net.run(f"ip route replace 10.97.0.0/16 via 10.99.0.{number + 1}")

    meanwhile.append(move)
    seen = surveyed(nets)
    routes = {str(item) for host in seen.hosts.values() for item in host.state or () if "10.97" in str(item)}
    assert routes == {"10.97.0.0/16 via 10.99.0.4 dev veth0"}


def test_a_writer_at_work_is_never_seen_out_of_order(nets: dict[str, Net]) -> None:
    """It moves one host, then the other: the second is never ahead, and never behind by more than one."""
    metrics = range(1, 60)

    def write() -> None:
        for metric in metrics:
            for net in nets.values():
                net.run(f"ip rule add from 10.97.0.0/16 blackhole priority {metric}")

    writer = threading.Thread(target=write)
    seen = []
    writer.start()
    while writer.is_alive():
        with suppress(KernelError):  # it was too quick
            seen.append(surveyed(nets))
    writer.join()
    seen.append(surveyed(nets))
    for world in seen:
        one, two = (sum("10.97" in str(item) for item in host.state or ()) for host in world.hosts.values())
        assert two <= one <= two + 1
    assert one == len(metrics)


def test_a_network_that_does_not_rest_is_refused(nets: dict[str, Net], meanwhile: list[Meanwhile]) -> None:
    meanwhile.append(lambda number: nets["two"].run(f"ip route replace 10.97.0.0/16 via 10.99.0.{number + 1}"))
    with pytest.raises(KernelError, match="two: its tables change faster than they can be read"):
        surveyed(nets)


def test_what_a_host_learns_of_its_neighbours_makes_nobody_read_again(
    nets: dict[str, Net], meanwhile: list[Meanwhile]
) -> None:
    counted: list[int] = []
    meanwhile.append(counted.append)
    meanwhile.append(
        lambda number: nets["one"].run(
            f"ip neigh replace 10.99.0.{number} lladdr 02:00:00:00:00:07 dev veth0 nud stale"
        )
    )
    surveyed(nets)
    assert counted == [1, 2]
