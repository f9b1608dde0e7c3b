"""A world that is read as far as packets come: it says what a whole one says, and when it is out of date."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from nankeen.forwarding import Unknown, walk
from nankeen.forwarding.packet import Packet
from nankeen.kernel.glimpse import Glimpse, glimpse
from tests.kernel.forwarding.scene import Scene, Sent, scene

NEIGHBOUR = "10.244.77.0 dev flannel.1"
WAYS = [
    Sent("pod1", "10.244.2.5"),
    Sent("pod1", "10.244.1.7"),
    Sent("pod1", "192.168.50.2"),
    Sent("node1", "fd44:0:0:2::5"),
    Sent("pod2", "10.244.9.9"),
    Sent("pod1", "10.244.2.5", 1500, dont_fragment=True),
    Sent("pod1", "10.244.2.5", ttl=2),
]


@pytest.fixture(scope="module")
def there() -> Iterator[Scene]:
    with scene("vxlan") as made:
        made.run("node1", "nft add table ip t")
        yield made


@pytest.fixture
def seen(there: Scene) -> Iterator[Glimpse]:
    with glimpse(there.nets) as found:
        yield found


def sent(packet: Sent, seen: Glimpse) -> Packet:
    """Walks with the packet, so that what is on its way is read."""
    return walk(seen.world, packet.packet(), packet.host).last


@pytest.mark.parametrize("packet", WAYS, ids=str)
def test_what_it_tells_is_what_the_whole_tells(there: Scene, seen: Glimpse, packet: Sent) -> None:
    there.forget()
    part, whole = (walk(world, packet.packet(), packet.host, passages=True) for world in (seen.world, there.survey()))
    assert not isinstance(part.end, Unknown)
    assert part.end == whole.end
    assert part.course == whole.course


def test_hosts_that_a_packet_does_not_pass_are_not_read(seen: Glimpse) -> None:
    assert sent(Sent("pod1", "10.244.1.7"), seen).ip.destination == ip_address("10.244.1.7")
    assert {name for name, host in seen.world.hosts.items() if host.is_read} == {"pod1", "node1", "pod3"}


def test_a_world_that_stays_as_it_is_has_not_changed(seen: Glimpse) -> None:
    sent(WAYS[0], seen)
    assert seen.changed() == ()


def test_what_hosts_learn_of_their_neighbours_is_no_change(there: Scene, seen: Glimpse) -> None:
    there.forget()
    sent(WAYS[0], seen)
    assert there.send(WAYS[:1], [0]) == {0: "pod2"}
    assert seen.changed() == ()


@pytest.mark.parametrize("host, done, undone", [
    ("node1", "route add 10.99.0.0/16 via 192.168.50.2", "route del 10.99.0.0/16"),
    ("node1", f"neigh add {NEIGHBOUR} lladdr 02:00:00:00:00:77 nud permanent", f"neigh del {NEIGHBOUR}"),
    ("node2", "address add 10.98.0.1/24 dev cni0", "address del 10.98.0.1/24 dev cni0"),
    ("node2", "rule add from 10.97.0.0/16 lookup 100", "rule del from 10.97.0.0/16 lookup 100"),
    ("node2", "link set flannel.1 mtu 1400", "link set flannel.1 mtu 1450"),
    ("node1", "nft add chain ip t c", "nft delete chain ip t c"),
    ("node1", "sysctl -qw net.ipv4.conf.cni0.rp_filter=1", "sysctl -qw net.ipv4.conf.cni0.rp_filter=0"),
])  # fmt: skip
def test_what_somebody_does_to_a_host_that_was_read_is_a_change(
    there: Scene, seen: Glimpse, host: str, done: str, undone: str
) -> None:
    sent(WAYS[0], seen)
    there.run(host, done)
    try:
        assert seen.changed() == (host,)
    finally:
        there.run(host, undone)


def test_a_change_of_a_host_that_no_packet_came_to_does_not_matter(there: Scene, seen: Glimpse) -> None:
    sent(Sent("pod1", "10.244.1.7"), seen)
    there.run("node2", "route add 10.99.0.0/16 via 192.168.50.1", "route del 10.99.0.0/16")
    assert seen.changed() == ()
