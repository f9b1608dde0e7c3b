from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.tunnel import TunnelPeer
from nankeen.tunnel import table as table_module
from nankeen.tunnel.control import Counters
from nankeen.tunnel.table import Peer, PeerTable
from tests.unit.tunnel.paper import NODE2, NODE2_IPV6, NODE3, OWN, PEERS, peer


def packed(*addresses: str) -> bytes:
    return b"".join(ip_address(address).packed for address in addresses)


@pytest.fixture
def peers() -> PeerTable:
    table = PeerTable(OWN)
    table.configure(PEERS)
    return table


def node_to(peers: PeerTable, address: str) -> str | None:
    found = peers.to(packed(address))
    return None if found is None else found.node


def admitted(peers: PeerTable, host: str, source: str, destination: str) -> str:
    """The node whose packet it is, or why it is not let in."""
    found = peers.admit(host, packed(source, destination))
    return found.node if isinstance(found, Peer) else found


def test_a_destination_is_behind_the_peer_whose_subnet_has_it(peers: PeerTable) -> None:
    found = peers.to(packed("10.244.2.255"))
    assert found is not None
    assert found.endpoint == (NODE2, 8285)
    assert node_to(peers, "10.244.3.0") == "node3"
    assert node_to(peers, "fd10:244:0:2:ffff::1") == "node2"


@pytest.mark.parametrize("address", ["10.244.1.2", "10.244.4.1", "0.0.0.1", "255.255.255.255", "fd10:244:0:3::1", "::"])
def test_nobody_has_any_other(peers: PeerTable, address: str) -> None:
    assert node_to(peers, address) is None
    assert node_to(peers, address) is None  # also where it was asked for before


def test_what_was_told_and_changed_since_is_what_it_goes_by(peers: PeerTable) -> None:
    assert set(peers.told("flannel0")) == set(PEERS)
    other = peer("10.244.9.0/24", "192.168.0.19", "node9")
    peers.change([other], [PEERS[0].subnet])
    assert set(peers.told("flannel0")) == {*PEERS[1:], other}


networks = st.one_of(
    st.builds(lambda a, b: IPv4Network((a >> (32 - b) << (32 - b), b)), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(
        lambda a, b: IPv6Network((a >> (128 - b) << (128 - b), b)), st.integers(0, 2**128 - 1), st.integers(0, 128)
    ),
)


@given(st.lists(networks, unique=True, max_size=12))
def test_of_subnets_in_one_another_the_smallest_counts(subnets: list[IPv4Network | IPv6Network]) -> None:
    table = PeerTable()
    table.configure([
        TunnelPeer("flannel0", subnet, ip_address("::1" if subnet.version == 6 else "127.0.0.1"), 1, str(subnet))
        for subnet in subnets
    ])  # fmt: skip
    for asked in subnets:
        for address in (asked.network_address, asked.broadcast_address):
            containing = [net for net in subnets if net.version == address.version and address in net]
            found = table.to(address.packed)
            assert found is not None
            assert found.node == str(max(containing, key=lambda net: net.prefixlen))


def test_a_peers_packet_is_its_own(peers: PeerTable) -> None:
    assert admitted(peers, NODE2, "10.244.2.7", "10.244.1.2") == "node2"
    assert admitted(peers, NODE2_IPV6, "fd10:244:0:2::7", "fd10:244:0:1::2") == "node2"


@pytest.mark.parametrize(
    "host, source, destination, reason",
    [
        ("192.168.0.99", "10.244.2.7", "10.244.1.2", "from an unknown peer"),
        ("192.168.0.99", "8.8.8.8", "10.244.1.2", "from an unknown peer"),
        (NODE3, "10.244.2.7", "10.244.1.2", "with a source of another node"),
        (NODE2, "10.244.1.7", "10.244.1.2", "with a source of this node"),
        (NODE2, "10.244.1.0", "10.244.1.2", "with a source of this node"),
        (NODE2, "10.244.1.255", "8.8.8.8", "with a source of this node"),
        (NODE2, "192.168.0.11", "10.244.1.2", "with a source of this node"),
        (NODE2_IPV6, "fd10:244:0:1::7", "fd10:244:0:1::2", "with a source of this node"),
        (NODE2, "10.244.2.7", "10.244.3.1", "for another node"),
        (NODE2, "10.244.2.7", "10.244.2.8", "for another node"),
        (NODE2, "8.8.8.8", "10.244.3.1", "for another node"),
        (NODE2, "fd10:244:0:2::7", "fd10:244:0:1::2", "with a source of another node"),
    ],
)
def test_what_is_not_the_peers_to_send_is_not_let_in(
    peers: PeerTable, host: str, source: str, destination: str, reason: str
) -> None:
    assert admitted(peers, host, source, destination) == reason
    assert admitted(peers, host, source, destination) == reason  # also where it came before


@pytest.mark.parametrize("source", ["8.8.8.8", "192.168.0.12", "10.244.0.255", "10.244.4.1"])
@pytest.mark.parametrize("destination", ["10.244.1.2", "8.8.4.4", "192.168.0.11"])
def test_a_source_outside_may_come_by_any_peer_and_a_node_may_route_what_nobody_has(
    peers: PeerTable, source: str, destination: str
) -> None:
    assert admitted(peers, NODE3, source, destination) == "node3"


def test_a_table_that_knows_no_subnet_of_its_own_lets_peers_in() -> None:
    table = PeerTable()
    table.configure(PEERS)
    assert admitted(table, NODE2, "10.244.2.7", "10.244.1.2") == "node2"


def test_who_was_found_before_a_change_is_looked_for_again(peers: PeerTable) -> None:
    assert node_to(peers, "10.244.4.1") is None
    assert admitted(peers, "192.168.0.14", "10.244.4.1", "10.244.1.2") == "from an unknown peer"
    peers.change([peer("10.244.4.0/24", "192.168.0.14", "node4")], [ip_network("10.244.2.0/24")])
    assert node_to(peers, "10.244.4.1") == "node4"
    assert node_to(peers, "10.244.2.1") is None
    assert admitted(peers, "192.168.0.14", "10.244.4.1", "10.244.1.2") == "node4"
    assert admitted(peers, NODE2, "10.244.2.1", "10.244.1.2") == "from an unknown peer"


def test_a_subnet_that_moves_is_its_new_nodes(peers: PeerTable) -> None:
    peers.change([peer("10.244.2.0/24", NODE3, "node3")], [])
    assert node_to(peers, "10.244.2.1") == "node3"
    assert admitted(peers, NODE3, "10.244.2.1", "10.244.1.2") == "node3"
    peers.change([], [ip_network("10.244.9.0/24")])  # of which nothing is known
    assert node_to(peers, "10.244.2.1") == "node3"


def test_packets_go_on_being_counted_when_peers_change_come_again_or_are_told_again(peers: PeerTable) -> None:
    counted(peers, "10.244.2.1", 3)
    peers.configure(PEERS)
    counted(peers, "10.244.2.1", 2)
    counted(peers, "fd10:244:0:2::1", 1)
    assert peers.counters()["node2"] == Counters(6, 600)
    peers.change([], [PEERS[0].subnet])
    assert peers.counters()["node2"] == Counters(6, 600)
    peers.change([PEERS[0]], [])
    counted(peers, "10.244.2.1", 1)
    assert peers.counters() == {"node2": Counters(7, 700), "node3": Counters()}


def test_two_subnets_of_one_node_are_one_peer(peers: PeerTable) -> None:
    peers.change([peer("10.244.12.0/24", NODE2, "node2")], [])
    counted(peers, "10.244.2.1", 1)
    counted(peers, "10.244.12.1", 1)
    assert peers.counters()["node2"] == Counters(2, 200)


def counted(peers: PeerTable, address: str, packets: int) -> None:
    found = peers.to(packed(address))
    assert found is not None
    found.sent_packets += packets
    found.sent_bytes += 100 * packets


def test_what_any_pod_may_ask_for_is_not_remembered_for_ever(peers: PeerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_MOST", 50)
    for number in range(200):
        address = (number + (10 << 24)).to_bytes(4)
        assert peers.to(address) is None
        peers.admit(NODE2, address + packed("10.244.1.2"))
    assert len(peers._by_destination) <= 50
    assert len(peers._admitted) <= 50
    assert node_to(peers, "10.244.2.1") == "node2"


def test_a_lookup_costs_the_same_with_five_thousand_peers() -> None:
    """As many tries as there are lengths of prefixes, and one where it was asked before."""
    table = PeerTable()
    table.configure([
        peer(f"10.{16 + number // 250}.{number % 250}.0/24", f"192.168.{number // 250}.{number % 250}", f"n{number}")
        for number in range(5000)
    ])  # fmt: skip
    assert node_to(table, "10.35.249.9") == "n4999"
    assert [len(tables) for tables in table._prefixes.values()] == [1, 0]
    assert admitted(table, "192.168.0.7", "8.8.8.8", "10.1.1.1") == "n7"
