"""What `observe_all` reads besides what an agent needs: written with an engineer's tools, read back as their lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nankeen.forwarding import Port, Wire
from nankeen.forwarding.ruleset import NO_RULES
from nankeen.kernel.observe import observe, observe_all
from nankeen.kernel.world import read_rules, survey
from nankeen.model.diff import Claim, diff
from nankeen.model.observed import (
    BridgeEntry,
    BridgePort,
    DynamicNeighbour,
    LinkFacts,
    ObservedObject,
    OtherRoute,
    RoutingRule,
)
from nankeen.model.state import ForwardingEntry, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Net


def lines(net: Net, kind: type[ObservedObject]) -> set[str]:
    return {str(item) for item in observe_all(net.socket, net.namespace).of(kind)}


@pytest.fixture
def node(net: Net) -> Net:
    """A namespace with a bridge that has a port, and a VXLAN device."""
    net.run("ip link add br0 type bridge")
    net.run("ip link add veth0 type veth peer name veth1")
    net.run("ip link set veth0 master br0 up")
    net.run("ip link set veth1 up")
    net.run("ip link set br0 up")
    net.run("ip address add 10.99.0.1/24 dev br0")
    net.run("ip address add fd99::1/64 dev br0 nodad")
    net.run("ip link add vx type vxlan id 1 dev br0 local 10.99.0.1 dstport 8472 nolearning")
    net.run("ip link set vx up")
    return net


@pytest.mark.parametrize(
    "added,line",
    [
        ("blackhole 10.1.0.0/16", "blackhole 10.1.0.0/16"),
        ("unreachable 10.1.0.0/16 metric 7", "unreachable 10.1.0.0/16 metric 7"),
        ("prohibit fd01::/64", "prohibit fd01::/64 dev lo metric 1024"),
        ("throw 10.1.0.0/16 table 77", "throw 10.1.0.0/16 table 77"),
        (
            "10.1.0.0/16 nexthop via 10.99.0.2 dev br0 nexthop via 10.99.0.3 dev br0 weight 2",
            "10.1.0.0/16 nexthop via 10.99.0.2 dev br0 weight 1 nexthop via 10.99.0.3 dev br0 weight 2",
        ),
        ("local 10.1.0.1 dev br0 table 77", "local 10.1.0.1 dev br0 table 77"),
    ],
)
def test_routes_of_every_type_are_read(node: Net, added: str, line: str) -> None:
    node.run(f"ip route add {added}")
    assert line in lines(node, OtherRoute)


def test_the_local_table_is_read_in_both_families(node: Net) -> None:
    found = lines(node, OtherRoute)
    assert "local 10.99.0.1 dev br0 table local proto kernel src 10.99.0.1" in found
    assert "broadcast 10.99.0.255 dev br0 table local proto kernel src 10.99.0.1" in found
    assert "local fd99::1 dev br0 table local proto kernel" in found


def test_routes_to_one_network_by_several_devices_stand_side_by_side(node: Net) -> None:
    """Every device has its link-local network."""
    state = observe_all(node.socket, node.namespace)
    devices = {item.device for item in state if "fe80::/64" in str(item) and "table" not in str(item)}
    assert {"br0", "veth1"} <= devices


@pytest.mark.parametrize(
    "rule,line",
    [
        ("from 10.1.0.0/16 to 10.2.0.1 lookup 77 priority 9", "9: from 10.1.0.0/16 to 10.2.0.1/32 lookup 77"),
        ("fwmark 0x10/0xff iif br0 blackhole priority 9", "9: from all fwmark 0x10/0xff iif br0 blackhole"),
        ("not from fd01::/64 prohibit priority 9", "9: not from fd01::/64 prohibit"),
        ("from all lookup main suppress_prefixlength 0 priority 9", "9: from all lookup main suppress_prefixlength 0"),
        ("from 10.1.0.0/16 ipproto tcp dport 80 lookup 77 priority 9", "9: from 10.1.0.0/16 ipproto dport lookup 77"),
    ],
)
def test_rules_are_read_and_what_is_not_modelled_of_them_is_named(node: Net, rule: str, line: str) -> None:
    node.run(f"ip {'-6 ' if ':' in rule else ''}rule add {rule}")
    found = lines(node, RoutingRule)
    assert line in found
    assert {"0: from all lookup local", "32766: from all lookup main"} <= found


def test_neighbours_that_are_not_permanent_are_read_with_their_state(node: Net) -> None:
    node.run("ip neigh add 10.99.0.7 lladdr 02:00:00:00:00:77 dev br0 nud stale")
    node.run("ip neigh add 10.99.0.8 lladdr 02:00:00:00:00:78 dev br0 nud noarp")
    found = lines(node, DynamicNeighbour)
    assert "10.99.0.7 dev br0 lladdr 02:00:00:00:00:77 STALE" in found
    assert "10.99.0.8 dev br0 lladdr 02:00:00:00:00:78 NOARP" in found


def test_a_bridges_table_is_read_and_whose_an_address_is(node: Net) -> None:
    node.run("bridge fdb add 02:00:00:00:00:77 dev veth0 master static")
    found = {str(entry).split(" ", 1)[1] for entry in observe_all(node.socket, node.namespace).of(BridgeEntry)}
    assert "dev veth0 master br0 static" in found
    assert "dev veth0 master br0 permanent" in found


def test_of_several_destinations_for_one_address_none_is_lost(node: Net) -> None:
    for number in (2, 3):
        node.run(f"bridge fdb append 00:00:00:00:00:00 dev vx dst 10.99.0.{number}")
    node.run("bridge fdb append 02:00:00:00:00:77 dev vx dst 10.99.0.4 port 4789 vni 9 via br0")
    state = observe_all(node.socket, node.namespace)
    assert len([*state.of(ForwardingEntry)]) == 1
    assert "02:00:00:00:00:77 dev vx dst 10.99.0.4 port 4789 vni 9 via br0 self static" in lines(node, BridgeEntry)
    assert len([entry for entry in state.of(BridgeEntry) if entry.address.is_zero]) == 1


def test_an_agent_is_not_stopped_by_several_destinations_of_somebody_elses_device(node: Net) -> None:
    for number in (2, 3):
        node.run(f"bridge fdb append 00:00:00:00:00:00 dev vx dst 10.99.0.{number}")
    assert len([*observe(node.socket).of(ForwardingEntry)]) == 1


def test_a_port_tells_what_it_lets_pass(node: Net) -> None:
    assert lines(node, BridgePort) == {str(BridgePort("veth0"))}
    node.run("bridge link set dev veth0 hairpin on isolated on flood off learning off mcast_flood off")
    changed = BridgePort("veth0", learning=False, flood=False, multicast_flood=False, hairpin=True, isolated=True)
    assert lines(node, BridgePort) == {str(changed)}
    node.run("ip link set veth0 down")
    assert lines(node, BridgePort) == {str(replace(changed, forwarding=False))}


def test_settings_that_are_not_modelled_are_named(node: Net) -> None:
    node.run("ip link add vx2 type vxlan external dstport 4790")
    node.run("ip link add br1 type bridge")
    assert lines(node, LinkFacts) == {"vx2: external"}


def test_what_is_only_read_is_in_no_diff(node: Net) -> None:
    everything = observe_all(node.socket, node.namespace)
    narrow = observe(node.socket)
    claim = Claim(frozenset({"br0", "vx"}))
    of_links = [change for change in diff(State(), everything, claim) if change.object.device is None]
    assert [str(change) for change in of_links] == [str(change) for change in diff(State(), narrow, claim)]
    assert not [change for change in diff(everything, narrow, claim) if isinstance(change.object, ObservedObject)]


def test_a_packet_filter_is_read_with_the_rules_own_words(net: Net) -> None:
    assert read_rules(net.namespace) is NO_RULES
    net.run("nft add table inet t")
    net.run("nft add chain inet t c { type filter hook forward priority 5 ; policy drop ; }")
    net.run("nft add rule inet t c ip saddr 10.0.0.0/8 counter accept")
    found = read_rules(net.namespace)
    assert [str(base) for base in found.bases] == ["table inet t chain c policy drop"]
    (rule,) = found.chains["inet t", "c"].rules
    assert str(rule).startswith("ip saddr 10.0.0.0/8 counter packets 0")
    assert rule.unknown == ()


def test_veth_pairs_are_found_within_and_across_namespaces(make_net: Callable[[], Net]) -> None:
    one, two, three = make_net(), make_net(), make_net()
    for other in (two, three):  # both pairs may have the same two indexes
        one.run(f"ip link add to-{other.name[-3:]} type veth peer name eth0 netns {other.name}")
    one.run("ip link add left type veth peer name right")
    world = survey({"one": one.namespace, "two": two.namespace, "three": three.namespace})
    assert {frozenset(wire.ports) for wire in world.wires} == {
        frozenset({Port("one", f"to-{two.name[-3:]}"), Port("two", "eth0")}),
        frozenset({Port("one", f"to-{three.name[-3:]}"), Port("three", "eth0")}),
        frozenset({Port("one", "left"), Port("one", "right")}),
    }
    assert all(isinstance(wire, Wire) for wire in world.wires)
